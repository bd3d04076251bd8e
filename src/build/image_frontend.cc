#include "build/image_frontend.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "build/bridge.h"
#include "build/engine.h"
#include "build/frontend_container.h"
#include "build/gateway.h"
#include "cachalot/llb/source.h"
#include "dockerfile/compile/config.h"
#include "dockerfile/replaced_image.h"
#include "oci/go_json.h"
#include "oci/image.h"
#include "oci/reference.h"
#include "op/selectors.h"
#include "os/file.h"

namespace cachalot::build {
namespace {

constexpr char kSource[] = "source";
constexpr char kNoNetworkLabel[] = "moby.buildkit.frontend.network.none";
constexpr char kCapsLabel[] = "moby.buildkit.frontend.caps";
constexpr char kInputsCap[] = "moby.buildkit.frontend.inputs";
constexpr char kMetadataDirectory[] = "/run/config/buildkit/metadata";

// A list "name[+note],..." as names.
std::set<std::string> CapsOf(absl::string_view text) {
  std::set<std::string> names;
  for (const absl::string_view cap : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    if (const std::string name(cap.substr(0, cap.find('+'))); !name.empty()) names.insert(name);
  }
  return names;
}

bool IsTrue(const std::string& text) {  // what Go's strconv takes
  static const std::set<std::string> kTrue = {"1", "t", "T", "true", "TRUE", "True"};
  return kTrue.count(text) > 0;
}

// A directory with one file, gone with the object.
class ScratchDirectory {
 public:
  static absl::StatusOr<std::unique_ptr<ScratchDirectory>> Create(const std::string& parent, const std::string& name, const std::string& content) {
    auto directory = std::unique_ptr<ScratchDirectory>(new ScratchDirectory(absl::StrCat(parent, "/frontend-", RandomId())));
    RETURN_IF_ERROR(os::MakeDirectories(directory->path_, 0700));
    RETURN_IF_ERROR(os::WriteFileAtomic(absl::StrCat(directory->path_, "/", name), content, 0400));
    return directory;
  }
  ~ScratchDirectory() {
    if (absl::Status status = os::RemoveTree(path_); !status.ok()) LogWarning("remove ", path_, ": ", status.message());
  }
  const std::string& path() const { return path_; }

 private:
  explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

// The daemon's side of a frontend while it runs.
class Service {
 public:
  Service(const std::shared_ptr<BuildCore>& core, std::shared_ptr<RequestTrace> trace, const llb::SolveRequest& request, const CancelToken& cancel)
      : stop_(cancel), gateway_(std::make_shared<Gateway>(core, std::move(trace), request.inputs, stop_.token())) {}
  ~Service() { End(); }

  // The program's standard streams.
  absl::StatusOr<runtime::Streams> Start(FrontendServer& server) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return ErrnoError("socketpair");
    UniqueFd ours(ends[0]);
    runtime::Streams streams;
    streams.in.reset(ends[1]);
    streams.out.reset(::fcntl(ends[1], F_DUPFD_CLOEXEC, 0));
    streams.err.reset(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
    ASSIGN_OR_RETURN(connection_, server.Serve(std::move(ours), gateway_));
    return streams;
  }
  // What the frontend has returned, if it has. Nothing is served any more.
  std::optional<absl::StatusOr<llb::FrontendResult>> End() {
    stop_.Cancel();
    connection_.reset();
    gateway_->Close();
    return gateway_->returned();
  }

 private:
  CancelSource stop_;  // what the frontend asked for is no longer wanted
  const std::shared_ptr<Gateway> gateway_;
  std::unique_ptr<FrontendServer::Connection> connection_;
};

class ImageFrontend {
 public:
  ImageFrontend(std::shared_ptr<BuildCore> core, std::shared_ptr<RequestTrace> trace, const llb::SolveRequest& request, CancelToken cancel)
      : core_(std::move(core)),
        trace_(std::move(trace)),
        request_(request),
        cancel_(std::move(cancel)),
        bridge_(core_, trace_, Bridge::Policies::kAll, cancel_) {}

  absl::StatusOr<llb::FrontendResult> Run() {
    RETURN_IF_ERROR(CheckSource());
    RETURN_IF_ERROR(Locate());
    RETURN_IF_ERROR(CheckImageCaps(config_.config.labels, request_));
    Service service(core_, trace_, request_, cancel_);
    const absl::Status exit = RunProgram(service);
    std::optional<absl::StatusOr<llb::FrontendResult>> returned = service.End();
    RETURN_IF_ERROR(cancel_.status());
    if (returned.has_value() && !returned->ok()) return *std::move(returned);
    RETURN_IF_ERROR(exit);
    if (!returned.has_value()) return absl::UnknownError("no result for incomplete build");
    return *std::move(returned);
  }

 private:
  absl::Status CheckSource() {
    if (request_.options.count("gateway-devel") > 0) return absl::InvalidArgumentError("development gateway is no longer supported");
    if (request_.options.count(kSource) == 0) return absl::InvalidArgumentError("no source specified for gateway");
    source_ = request_.options.at(kSource);
    if (core_->frontends().server == nullptr) return absl::UnimplementedError(absl::StrCat("frontend images are not supported here: ", source_));
    const std::vector<std::string>& allowed = core_->frontends().rules.allowed_images;
    if (allowed.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const oci::Reference reference, oci::Reference::ParseNormalized(source_));
    for (const std::string& repository : allowed) {
      const absl::StatusOr<oci::Reference> other = oci::Reference::ParseNormalized(repository);
      if (other.ok() && other->name() == reference.name()) return absl::OkStatus();
    }
    return absl::PermissionDeniedError(absl::StrCat("'", source_, "' is not an allowed gateway source"));
  }

  // Finds the image, or what the client put in its place.
  absl::Status Locate() {
    ASSIGN_OR_RETURN(std::optional<dockerfile::ReplacedImage> replaced,
                     dockerfile::FindReplacement(bridge_, request_.options, request_.inputs, source_));
    if (replaced.has_value()) {
      definition_ = std::move(replaced->definition);
      config_ = std::move(replaced->config);
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const oci::Reference wanted, oci::Reference::ParseNormalized(source_));
    ASSIGN_OR_RETURN(const llb::ResolvedImage image, bridge_.ResolveImage(wanted.str(), {}));
    ASSIGN_OR_RETURN(config_, oci::ParseImageConfig(image.config));
    ASSIGN_OR_RETURN(oci::Reference pinned, oci::Reference::ParseNormalized(image.ref));
    pinned.digest = image.digest;
    llb::ImageOptions options;
    options.record_type = "frontend";
    ASSIGN_OR_RETURN(definition_, llb::Image(pinned.str(), options).Marshal());
    return absl::OkStatus();
  }

  ProcessRequest DescribeProcess() const {
    const oci::RunConfig& config = config_.config;
    const session::SessionPtr& session = core_->environment()->session;
    ProcessRequest process;
    process.meta.args = config.entrypoint.empty() ? std::vector<std::string>{"/run"} : config.entrypoint;
    process.meta.env = FrontendVariables(config.env, request_.options, session == nullptr ? "" : session->id(), core_->frontends().worker());
    process.meta.cwd = config.working_dir;
    process.meta.remove_mount_stubs_recursive = true;
    return process;
  }

  absl::Status RunProgram(Service& service) {
    llb::SolveRequest solve;
    solve.definition = definition_;
    ASSIGN_OR_RETURN(const llb::FrontendResult image, bridge_.Solve(solve));
    if (image.ref == nullptr) return absl::InvalidArgumentError("gateway source didn't return default result");
    ASSIGN_OR_RETURN(const solver::ResultPtr tree, core_->Solve(image.ref, cancel_));
    RETURN_IF_ERROR(op::MaterializeAll(*core_->environment(), {tree}, cancel_));
    // A frontend learns from its own definition where it comes from.
    ASSIGN_OR_RETURN(const std::unique_ptr<ScratchDirectory> metadata,
                     ScratchDirectory::Create(core_->environment()->parts.work_dir, "frontend.bin", llb::SaveDefinition(image.ref->edge())));
    ContainerRequest request;
    request.id = absl::StrCat("frontend ", source_);
    llb::Mount& root = request.mounts.emplace_back();
    root.dest = "/";
    root.input = 0;
    if (IsTrue(ValueOf(config_.config.labels, kNoNetworkLabel))) request.network = llb::NetMode::kNone;
    const runtime::MountPoint bind = {kMetadataDirectory, {"bind", metadata->path(), {"bind", "ro", "nosuid", "nodev", "noexec"}}, true};
    ASSIGN_OR_RETURN(const std::shared_ptr<FrontendContainer> container,
                     FrontendContainer::Create(core_, std::move(request), {tree}, cancel_, {bind}));
    ASSIGN_OR_RETURN(runtime::Streams streams, service.Start(*core_->frontends().server));
    ASSIGN_OR_RETURN(const std::unique_ptr<ContainerProcess> process, container->Start(DescribeProcess(), std::move(streams), cancel_));
    return process->Wait(cancel_);
  }

  const std::shared_ptr<BuildCore> core_;
  const std::shared_ptr<RequestTrace> trace_;
  const llb::SolveRequest& request_;
  const CancelToken cancel_;
  Bridge bridge_;
  std::string source_;
  llb::Definition definition_;
  oci::ImageConfig config_;
};

}  // namespace

absl::StatusOr<llb::FrontendResult> RunImageFrontend(std::shared_ptr<BuildCore> core, std::shared_ptr<RequestTrace> trace,
                                                     const llb::SolveRequest& request, const CancelToken& cancel) {
  return ImageFrontend(std::move(core), std::move(trace), request, cancel).Run();
}

std::vector<std::string> FrontendVariables(std::vector<std::string> image_env, const std::map<std::string, std::string>& options,
                                           const std::string& session, const WorkerInfo& worker) {
  int number = 0;
  for (const auto& [name, value] : options) image_env.push_back(absl::StrCat("BUILDKIT_FRONTEND_OPT_", number++, "=", name, "=", value));
  image_env.push_back(absl::StrCat("BUILDKIT_SESSION_ID=", session));
  oci::Json platforms = oci::Json::array();
  for (const oci::Platform& platform : worker.platforms) {
    oci::Json json = {{"architecture", platform.architecture}, {"os", platform.os}};
    if (!platform.variant.empty()) json["variant"] = platform.variant;
    platforms.push_back(std::move(json));
  }
  const oci::Json workers = {{{"id", worker.id}, {"labels", worker.labels}, {"platforms", platforms}}};
  image_env.push_back(absl::StrCat("BUILDKIT_WORKERS=", oci::DumpGo(workers)));
  image_env.push_back("BUILDKIT_EXPORTEDPRODUCT=");
  return image_env;
}

absl::Status CheckImageCaps(const std::map<std::string, std::string>& labels, const llb::SolveRequest& request) {
  const std::set<std::string> offered = CapsOf(ValueOf(labels, kCapsLabel));
  std::set<std::string> needed = CapsOf(ValueOf(request.options, "frontend.caps"));
  if (!request.inputs.empty()) needed.insert(kInputsCap);
  for (const std::string& cap : needed) {
    if (offered.count(cap) == 0) return dockerfile::UnsupportedCap(cap);
  }
  return absl::OkStatus();
}

}  // namespace cachalot::build
