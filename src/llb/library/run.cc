#include "cachalot/llb/run.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "llb/library/node.h"

namespace cachalot::llb {
namespace {

// A mount with where its source stands among the node's inputs.
struct PlannedMount {
  std::string dest;
  MountOptions options;
  Output source;
  int input = -1;   // of the node, -1 for scratch
  int output = -1;  // of the operation, -1 for none
};

bool LeavesTree(const MountOptions& options) { return !options.readonly && !options.no_output && !options.cache && !options.tmpfs_size; }

// The root and the other mounts in the order of their places, with their outputs counted in that order.
std::vector<PlannedMount> PlanMounts(const Output& root, const RunOptions& options, std::vector<Output>& inputs) {
  std::vector<PlannedMount> mounts;
  mounts.push_back({"/", {.readonly = options.readonly_root}, root});
  for (const RunOptions::MountEntry& entry : options.mounts) mounts.push_back({entry.dest, entry.options, entry.source.output()});
  std::stable_sort(mounts.begin(), mounts.end(), [](const PlannedMount& a, const PlannedMount& b) { return a.dest < b.dest; });
  int outputs = 0;
  for (PlannedMount& mount : mounts) {
    if (LeavesTree(mount.options)) mount.output = outputs++;
    if (mount.source.node == nullptr) continue;
    mount.input = static_cast<int>(inputs.size());
    inputs.push_back(mount.source);
  }
  return mounts;
}

class ExecNode : public Node {
 public:
  struct Plan {
    std::vector<Output> inputs;
    std::vector<PlannedMount> mounts;
    ProcessSettings settings;
    RunOptions options;
  };

  explicit ExecNode(Plan plan)
      : Node(std::move(plan.inputs), plan.options.constraints),
        output_platform_(plan.options.constraints.platform),
        mounts_(std::move(plan.mounts)),
        settings_(std::move(plan.settings)),
        args_(std::move(plan.options.args)),
        secrets_(std::move(plan.options.secrets)),
        ssh_(std::move(plan.options.ssh)),
        cdi_devices_(std::move(plan.options.cdi_devices)),
        proxy_(std::move(plan.options.proxy)) {
    if (!constraints().platform) mutable_constraints().platform = settings_.platform;
    for (std::size_t i = 0; i < ssh_.size(); ++i) {
      if (ssh_[i].dest.empty()) ssh_[i].dest = absl::StrCat("/run/buildkit/ssh_agent.", i);
    }
    if (!ssh_.empty() && !settings_.GetEnv("SSH_AUTH_SOCK")) settings_.SetEnv("SSH_AUTH_SOCK", ssh_[0].dest);
  }

  std::optional<oci::Platform> OutputPlatform() const override { return output_platform_; }
  absl::Status Assemble(const MarshalOptions&, const std::vector<Edge>& inputs, Vertex& vertex) const override;

 private:
  void FillMeta(ProcessMeta& meta) const;
  absl::Status AddTreeMounts(const std::vector<Edge>& inputs, ExecOp& op, Vertex& vertex) const;
  void AddSecrets(ExecOp& op, Vertex& vertex) const;
  void AddSockets(ExecOp& op, Vertex& vertex) const;
  void RequireProcessCaps(Vertex& vertex) const;

  std::optional<oci::Platform> output_platform_;
  std::vector<PlannedMount> mounts_;
  ProcessSettings settings_;
  std::vector<std::string> args_;
  std::vector<SecretOptions> secrets_;
  std::vector<SshOptions> ssh_;
  std::vector<CdiDevice> cdi_devices_;
  std::optional<ProxyEnv> proxy_;
};

void ExecNode::FillMeta(ProcessMeta& meta) const {
  meta.args = args_;
  for (const auto& [name, value] : settings_.env) meta.env.push_back(absl::StrCat(name, "=", value));
  meta.cwd = settings_.dir;
  meta.user = settings_.user;
  meta.proxy = proxy_;
  meta.extra_hosts = settings_.extra_hosts;
  meta.hostname = settings_.hostname;
  meta.ulimits = settings_.ulimits;
  meta.cgroup_parent = settings_.cgroup_parent;
  meta.remove_mount_stubs_recursive = true;
  meta.valid_exit_codes = settings_.valid_exit_codes;
}

void ExecNode::RequireProcessCaps(Vertex& vertex) const {
  RequireCap("exec.meta.base", vertex);
  RequireCap("exec.meta.setsdefaultpath", vertex);
  if (!settings_.valid_exit_codes.empty()) RequireCap("exec.validexitcode", vertex);
  if (!settings_.ulimits.empty()) RequireCap("exec.meta.ulimit", vertex);
  if (settings_.network != NetMode::kSandbox) RequireCap("exec.meta.network", vertex);
  if (settings_.security != SecurityMode::kSandbox) RequireCap("exec.meta.security", vertex);
  if (vertex.metadata.linux_resources) RequireCap("exec.meta.linux.resources", vertex);
  if (proxy_) RequireCap("exec.meta.proxyenv", vertex);
  if (!cdi_devices_.empty()) RequireCap("exec.meta.cdi", vertex);
}

absl::Status ExecNode::AddTreeMounts(const std::vector<Edge>& inputs, ExecOp& op, Vertex& vertex) const {
  for (const PlannedMount& planned : mounts_) {
    const MountOptions& options = planned.options;
    Mount& mount = op.mounts.emplace_back();
    mount.dest = planned.dest;
    mount.readonly = options.readonly;
    mount.selector = options.selector;
    mount.output = planned.output;
    mount.content_cache = options.content_cache;
    if (planned.input >= 0) {
      if (options.tmpfs_size) return absl::InvalidArgumentError(absl::StrCat("mount ", planned.dest, ": tmpfs mounts must use scratch"));
      mount.input = AddInput(inputs[planned.input], vertex);
    }
    if (!mount.selector.empty()) RequireCap("exec.mount.selector", vertex);
    if (mount.content_cache != ContentCache::kDefault) RequireCap("exec.mount.cache.content", vertex);
    if (options.cache) {
      mount.type = MountType::kCache;
      mount.cache = *options.cache;
      RequireCap("exec.mount.cache", vertex);
      RequireCap("exec.mount.cache.sharing", vertex);
    } else if (options.tmpfs_size) {
      mount.type = MountType::kTmpfs;
      mount.tmpfs_size = *options.tmpfs_size;
      RequireCap("exec.mount.tmpfs", vertex);
      if (mount.tmpfs_size > 0) RequireCap("exec.mount.tmpfs.size", vertex);
    } else if (planned.input >= 0) {
      RequireCap("exec.mount.bind", vertex);
    }
  }
  return absl::OkStatus();
}

void ExecNode::AddSecrets(ExecOp& op, Vertex& vertex) const {
  for (const SecretOptions& secret : secrets_) {
    RequireCap("exec.mount.secret", vertex);
    const std::string& id = secret.id.empty() ? secret.dest : secret.id;
    if (!secret.env.empty()) {
      RequireCap("exec.secretenv", vertex);
      op.secret_env.push_back({id, secret.env, secret.optional});
    }
    if (secret.dest.empty()) continue;
    Mount& mount = op.mounts.emplace_back();
    mount.dest = secret.dest;
    mount.type = MountType::kSecret;
    mount.secret = SecretMount{id, secret.uid, secret.gid, secret.mode, secret.optional};
  }
}

void ExecNode::AddSockets(ExecOp& op, Vertex& vertex) const {
  for (const SshOptions& socket : ssh_) {
    RequireCap("exec.mount.ssh", vertex);
    Mount& mount = op.mounts.emplace_back();
    mount.dest = socket.dest;
    mount.type = MountType::kSsh;
    mount.ssh = SshMount{socket.id, socket.uid, socket.gid, socket.mode, socket.optional};
  }
}

absl::Status ExecNode::Assemble(const MarshalOptions&, const std::vector<Edge>& inputs, Vertex& vertex) const {
  if (args_.empty()) return absl::InvalidArgumentError("process without arguments: arguments are required");
  if (settings_.dir.empty()) return absl::InvalidArgumentError("process without directory: working directory is required");
  ExecOp op;
  FillMeta(op.meta);
  op.network = settings_.network;
  op.security = settings_.security;
  op.cdi_devices = cdi_devices_;
  RequireProcessCaps(vertex);
  absl::Status added = AddTreeMounts(inputs, op, vertex);
  if (!added.ok()) return added;
  AddSecrets(op, vertex);
  AddSockets(op, vertex);
  vertex.op = std::move(op);
  return absl::OkStatus();
}

}  // namespace

Exec State::Run(const RunOptions& options) const {
  ExecNode::Plan plan;
  plan.mounts = PlanMounts(output_, options, plan.inputs);
  plan.settings = *settings_;
  for (const auto& edit : options.edits) edit(plan.settings);
  plan.options = options;
  const std::vector<PlannedMount> mounts = plan.mounts;
  auto node = std::make_shared<const ExecNode>(std::move(plan));

  Exec exec(*this);
  const auto root = std::find_if(mounts.begin(), mounts.end(), [](const PlannedMount& mount) { return mount.dest == "/"; });
  if (!options.readonly_root) exec.root_ = WithOutput({node, root->output});
  exec.mounts_.emplace("/", exec.root_);
  for (const RunOptions::MountEntry& entry : options.mounts) {
    if (entry.options.readonly) {
      exec.mounts_.emplace(entry.dest, entry.source);
    } else if (!LeavesTree(entry.options)) {
      exec.mounts_.emplace(entry.dest, absl::FailedPreconditionError(absl::StrCat("mount ", entry.dest, " leaves no tree behind")));
    } else {
      const auto planned = std::find_if(mounts.begin(), mounts.end(), [&](const PlannedMount& mount) { return mount.dest == entry.dest; });
      exec.mounts_.emplace(entry.dest, entry.source.WithOutput({node, planned->output}));
    }
  }
  return exec;
}

absl::StatusOr<State> Exec::GetMount(absl::string_view dest) const {
  const auto found = mounts_.find(std::string(dest));
  if (found == mounts_.end()) return absl::NotFoundError(absl::StrCat("nothing is mounted at ", dest));
  return found->second;
}

}  // namespace cachalot::llb
