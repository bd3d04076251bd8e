#include "cachalot/llb/state.h"

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status_macros.h"
#include "llb/library/node.h"
#include "oci/image.h"

namespace cachalot::llb {
namespace {

// Stands for a vertex of a graph that is already there.
class LoadedNode : public Node {
 public:
  explicit LoadedNode(VertexPtr vertex) : Node({}, {}), vertex_(std::move(vertex)) {}
  VertexPtr Loaded() const override { return vertex_; }
  std::optional<oci::Platform> OutputPlatform() const override { return vertex_->platform; }
  absl::Status Assemble(const MarshalOptions&, const std::vector<Edge>&, Vertex&) const override {
    return absl::InternalError("a loaded vertex is not assembled");
  }

 private:
  VertexPtr vertex_;
};

class PassthroughNode : public Node {
 public:
  PassthroughNode(std::string id, std::vector<Output> inputs) : Node(std::move(inputs), {}), id_(std::move(id)) {}

  absl::Status Assemble(const MarshalOptions&, const std::vector<Edge>& inputs, Vertex& vertex) const override {
    if (id_.empty()) return absl::InvalidArgumentError("passthrough requires an id");
    vertex.platform.reset();
    vertex.inputs = inputs;
    vertex.op = PassthroughOp{id_, {0}};
    RequireCap("passthroughop", vertex);
    return absl::OkStatus();
  }

 private:
  std::string id_;
};

}  // namespace

void ProcessSettings::SetEnv(absl::string_view name, absl::string_view value) {
  env.erase(std::remove_if(env.begin(), env.end(), [name](const auto& entry) { return entry.first == name; }), env.end());
  env.emplace_back(name, value);
}

std::optional<std::string> ProcessSettings::GetEnv(absl::string_view name) const {
  for (const auto& [known, value] : env) {
    if (known == name) return value;
  }
  return std::nullopt;
}

void ProcessSettings::SetDir(absl::string_view path) {
  dir = absl::StartsWith(path, "/") ? std::string(path) : JoinPath(dir.empty() ? "/" : dir, path);
}

State::State() : settings_(std::make_shared<ProcessSettings>()) {}

State::State(Output output, std::shared_ptr<const ProcessSettings> settings) : output_(std::move(output)), settings_(std::move(settings)) {}

State::State(Output output) : State() { *this = WithOutput(std::move(output)); }

State::State(Edge edge) : State() {
  if (edge.vertex == nullptr) return;
  const int index = edge.output;
  *this = WithOutput({std::make_shared<LoadedNode>(std::move(edge.vertex)), index});
}

State State::WithOutput(Output output) const {
  State state(std::move(output), settings_);
  if (state.output_.node == nullptr) return state;
  std::optional<oci::Platform> platform = state.output_.node->OutputPlatform();
  return platform ? state.Platform(*platform) : state;
}

State State::With(ProcessSettings settings) const { return State(output_, std::make_shared<ProcessSettings>(std::move(settings))); }

State State::Edit(const std::function<void(ProcessSettings&)>& edit) const {
  auto settings = std::make_shared<ProcessSettings>(*settings_);
  edit(*settings);
  return State(output_, std::move(settings));
}

State State::AddEnv(absl::string_view name, absl::string_view value) const {
  return Edit([&](ProcessSettings& settings) { settings.SetEnv(name, value); });
}
State State::Dir(absl::string_view path) const {
  return Edit([&](ProcessSettings& settings) { settings.SetDir(path); });
}
State State::User(absl::string_view user) const {
  return Edit([&](ProcessSettings& settings) { settings.user = std::string(user); });
}
State State::Hostname(absl::string_view hostname) const {
  return Edit([&](ProcessSettings& settings) { settings.hostname = std::string(hostname); });
}
State State::AddExtraHost(absl::string_view host, absl::string_view ip) const {
  return Edit([&](ProcessSettings& settings) { settings.extra_hosts.push_back({std::string(host), std::string(ip)}); });
}
State State::AddUlimit(absl::string_view name, std::int64_t soft, std::int64_t hard) const {
  return Edit([&](ProcessSettings& settings) { settings.ulimits.push_back({std::string(name), soft, hard}); });
}
State State::CgroupParent(absl::string_view parent) const {
  return Edit([&](ProcessSettings& settings) { settings.cgroup_parent = std::string(parent); });
}
State State::ValidExitCodes(std::vector<int> codes) const {
  return Edit([&](ProcessSettings& settings) { settings.valid_exit_codes = std::move(codes); });
}
State State::Network(NetMode network) const {
  return Edit([&](ProcessSettings& settings) { settings.network = network; });
}
State State::Security(SecurityMode security) const {
  return Edit([&](ProcessSettings& settings) { settings.security = security; });
}
State State::Platform(const oci::Platform& platform) const {
  return Edit([&](ProcessSettings& settings) { settings.platform = oci::Normalize(platform); });
}

absl::StatusOr<State> State::WithImageConfig(absl::string_view json) const {
  ASSIGN_OR_RETURN(const oci::ImageConfig image, oci::ParseImageConfig(json));
  return Edit([&](ProcessSettings& settings) {
    for (const std::string& entry : image.config.env) {
      const std::size_t equals = std::min(entry.find('='), entry.size());
      const absl::string_view value = equals < entry.size() ? absl::string_view(entry).substr(equals + 1) : "";
      if (equals > 0) settings.SetEnv(absl::string_view(entry).substr(0, equals), value);
    }
    settings.SetDir(image.config.working_dir);
    if (!image.platform.architecture.empty() && !image.platform.os.empty()) settings.platform = oci::Normalize(image.platform);
  });
}

State State::Requires(absl::string_view id, const std::vector<State>& dependencies) const {
  if (dependencies.empty() || is_scratch()) return *this;
  std::vector<Output> inputs = {output_};
  for (const State& dependency : dependencies) {
    if (!dependency.is_scratch()) inputs.push_back(dependency.output_);
  }
  return WithOutput({std::make_shared<PassthroughNode>(std::string(id), std::move(inputs)), 0});
}

absl::StatusOr<Edge> State::ToEdge(const MarshalOptions& options) const { return AssembleGraph(output_, options); }

absl::StatusOr<Definition> State::Marshal(const MarshalOptions& options) const {
  ASSIGN_OR_RETURN(const Edge edge, ToEdge(options));
  return SaveDefinition(edge);
}

}  // namespace cachalot::llb
