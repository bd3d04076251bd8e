#include "op/exec_op.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/path.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/cache_digest.h"
#include "op/errors.h"
#include "op/exec_mounts.h"
#include "op/exec_slots.h"
#include "op/kept_trees.h"
#include "op/log_pump.h"
#include "op/process_environment.h"
#include "op/proxy/proxied_step.h"

namespace cachalot::op {
namespace {

constexpr std::uint64_t kFull = 1 << 20;  // free bytes

void AddProxy(const llb::ProxyEnv& proxy, std::vector<std::string>& env) {
  const std::pair<const char*, const std::string*> variables[] = {{"HTTP_PROXY", &proxy.http_proxy},
                                                                  {"HTTPS_PROXY", &proxy.https_proxy},
                                                                  {"FTP_PROXY", &proxy.ftp_proxy},
                                                                  {"NO_PROXY", &proxy.no_proxy},
                                                                  {"ALL_PROXY", &proxy.all_proxy}};
  for (const auto& [name, value] : variables) {
    if (value->empty()) continue;
    env.push_back(absl::StrCat(name, "=", *value));
    env.push_back(absl::StrCat(absl::AsciiStrToLower(name), "=", *value));
  }
}

std::vector<solver::ResultPtr> InputsOfMounts(const llb::ExecOp& op, const std::vector<solver::ResultPtr>& inputs) {
  std::vector<solver::ResultPtr> results;
  for (const llb::Mount& mount : op.mounts) {
    const bool has_input = mount.input >= 0 && mount.input < static_cast<int>(inputs.size());
    results.push_back(has_input ? inputs[mount.input] : nullptr);
  }
  return results;
}

bool IsFull(const std::string& directory) {
  struct statvfs disk;
  return ::statvfs(directory.c_str(), &disk) == 0 && disk.f_bavail * disk.f_frsize < kFull;
}

// A step need not say why it failed, and never says which disk it means.
std::string FullDiskNote(const std::string& directory) {
  return IsFull(directory) ? absl::StrCat(" (no space is left on the file system of ", directory, ")") : "";
}

}  // namespace

std::string GoQuote(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    switch (c) {
      case '"': quoted += "\\\""; break;
      case '\\': quoted += "\\\\"; break;
      case '\n': quoted += "\\n"; break;
      case '\t': quoted += "\\t"; break;
      case '\r': quoted += "\\r"; break;
      case '\a': quoted += "\\a"; break;
      case '\b': quoted += "\\b"; break;
      case '\f': quoted += "\\f"; break;
      case '\v': quoted += "\\v"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          quoted += absl::StrFormat("\\x%02x", static_cast<unsigned char>(c));
        } else {
          quoted += c;
        }
    }
  }
  return quoted + "\"";
}

ExecOperation::ExecOperation(llb::VertexPtr vertex, EnvironmentPtr environment)
    : vertex_(std::move(vertex)), environment_(std::move(environment)), op_(std::get<llb::ExecOp>(vertex_->op)) {}

absl::StatusOr<std::vector<ExecOperation::InputUse>> ExecOperation::UsesOfInputs() const {
  std::vector<InputUse> uses(vertex_->inputs.size());
  for (const llb::Mount& mount : op_.mounts) {
    const bool has_tree = mount.type == llb::MountType::kBind || mount.type == llb::MountType::kCache;
    if (!has_tree || mount.input < 0) continue;
    if (mount.input >= static_cast<int>(uses.size())) return absl::InvalidArgumentError(absl::StrCat("invalid mount input ", mount.input));
    InputUse& use = uses[mount.input];
    const std::string selector = RootedPath(mount.selector);
    if (use.selectors.empty()) use.content = true;  // unless one of its mounts speaks against it
    use.selectors.push_back(selector);
    // A changed tree that becomes an output has what the selector left out, too: then only the whole tree may count.
    const bool safe = mount.output < 0 || mount.readonly || selector == "/";
    if (!safe || mount.content_cache == llb::ContentCache::kOff) use.content = false;
    if (!safe && mount.content_cache == llb::ContentCache::kOn) {
      return absl::InvalidArgumentError(absl::StrCat("invalid mount cache content of ", mount.dest));
    }
    // Digesting a whole root file system would cost more than it is worth.
    if (mount.dest == "/" && mount.content_cache == llb::ContentCache::kDefault) use.content = false;
  }
  return uses;
}

absl::StatusOr<solver::CacheMap> ExecOperation::DescribeCache(const solver::OpContext&) {
  solver::CacheMap map;
  map.op_digest = ExecOpDigest(op_, platform());
  ASSIGN_OR_RETURN(const std::vector<InputUse> uses, UsesOfInputs());
  for (const InputUse& use : uses) {
    solver::InputKey& key = map.inputs.emplace_back();
    if (!use.selectors.empty()) key.selector = DigestOfList(use.selectors);
    key.content = use.content;
  }
  return map;
}

absl::StatusOr<std::string> ExecOperation::ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) {
  ASSIGN_OR_RETURN(const std::vector<InputUse> uses, UsesOfInputs());
  std::vector<Selector> selectors;
  for (const std::string& path : uses.at(index).selectors) {
    Selector& selector = selectors.emplace_back();
    selector.path = path;
    selector.follow_links = true;
  }
  absl::StatusOr<std::string> digest = DigestSelected(*environment_, Deduplicate(selectors), input, context.cancel);
  if (digest.ok()) return digest;
  absl::Status status = digest.status();
  AttachContentInput(*environment_, index, input, status);
  return status;
}

absl::StatusOr<runtime::DeviceEdits> ExecOperation::Devices() const {
  const runtime::CdiCatalog catalog = environment_->parts.devices->Read();
  std::vector<std::string> names;
  for (const llb::CdiDevice& device : op_.cdi_devices) {
    ASSIGN_OR_RETURN(const std::vector<std::string> found, catalog.Find(device.name, device.optional));
    names.insert(names.end(), found.begin(), found.end());
  }
  return catalog.EditsOf(names);
}

absl::StatusOr<runtime::ContainerSpec> ExecOperation::DescribeContainer(const ExecMounts& mounts, const CancelToken& cancel) const {
  runtime::ContainerSpec spec;
  spec.id = RandomId();
  spec.rootfs = mounts.rootfs();
  spec.readonly_rootfs = mounts.readonly_rootfs();
  spec.mounts = mounts.points();
  spec.process.args = op_.meta.args;
  spec.process.env = op_.meta.env;
  spec.process.cwd = op_.meta.cwd.empty() ? "/" : op_.meta.cwd;
  spec.process.user = op_.meta.user;
  for (const llb::Ulimit& limit : op_.meta.ulimits) spec.process.rlimits.push_back({limit.name, limit.soft, limit.hard});
  if (op_.meta.proxy.has_value()) AddProxy(*op_.meta.proxy, spec.process.env);
  AddDefaultVariable("PATH", kDefaultPath, spec.process.env);
  ASSIGN_OR_RETURN(const std::vector<std::string> secrets, SecretVariables(*environment_, op_.secret_env, cancel));
  spec.process.env.insert(spec.process.env.end(), secrets.begin(), secrets.end());
  if (!op_.meta.hostname.empty()) spec.hostname = op_.meta.hostname;
  for (const llb::HostIp& host : op_.meta.extra_hosts) spec.extra_hosts.emplace_back(host.host, host.ip);
  switch (op_.network) {
    case llb::NetMode::kSandbox: spec.network = runtime::Network::kSandbox; break;
    case llb::NetMode::kHost: spec.network = runtime::Network::kHost; break;
    case llb::NetMode::kNone: spec.network = runtime::Network::kNone; break;
  }
  if (!op_.cdi_devices.empty()) {
    ASSIGN_OR_RETURN(spec.devices, Devices());
  }
  if (const auto& limits = vertex_->metadata.linux_resources; limits.has_value()) {
    spec.limits = {limits->memory,    limits->memory_swap, limits->cpu_shares, limits->cpu_period,
                   limits->cpu_quota, limits->cpuset_cpus, limits->cpuset_mems};
  }
  spec.remove_stub_parents = op_.meta.remove_mount_stubs_recursive;
  spec.privileged = op_.security == llb::SecurityMode::kInsecure;
  spec.cgroup_parent = op_.meta.cgroup_parent.empty() ? environment_->cgroup_parent : op_.meta.cgroup_parent;
  return spec;
}

absl::StatusOr<runtime::ExitStatus> ExecOperation::RunContainer(runtime::ContainerSpec& spec, const solver::OpContext& context) const {
  std::unique_ptr<ProxiedSteps::Step> proxied;
  if (environment_->proxy != nullptr && spec.network != runtime::Network::kNone) {
    ASSIGN_OR_RETURN(proxied, environment_->parts.proxied_steps->Start(spec, environment_->proxy->check));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<LogPump> pump, LogPump::Start(context.progress));
  absl::StatusOr<runtime::ExitStatus> exit = environment_->parts.runtime->Run(spec, pump->TakeStreams(), context.cancel);
  pump->Finish(!exit.ok() || !Succeeded(*exit));
  if (exit.ok()) (*environment_->usages->Lock())[vertex_->digest.str()] = {exit->usage, environment_->parts.clock->Now()};
  if (proxied != nullptr) {
    ASSIGN_OR_RETURN((*environment_->proxy->records.Lock())[vertex_->digest.str()], proxied->Finish(*context.progress));
  }
  return exit;
}

bool ExecOperation::Succeeded(const runtime::ExitStatus& exit) const {
  const std::vector<int>& valid = op_.meta.valid_exit_codes;
  return valid.empty() ? exit.code == 0 : std::count(valid.begin(), valid.end(), exit.code) > 0;
}

absl::Status ExecOperation::RunProcess(const ExecMounts& mounts, const solver::OpContext& context) const {
  ASSIGN_OR_RETURN(runtime::ContainerSpec spec, DescribeContainer(mounts, context.cancel));
  const absl::StatusOr<runtime::ExitStatus> exit = RunContainer(spec, context);
  RETURN_IF_ERROR(context.cancel.status());
  if (exit.ok() && Succeeded(*exit)) return absl::OkStatus();
  const std::string what = absl::StrCat("process ", GoQuote(absl::StrJoin(op_.meta.args, " ")), " did not complete successfully");
  if (!exit.ok()) return Annotate(exit.status(), absl::StrCat(what, FullDiskNote(environment_->parts.work_dir)));
  absl::Status failure = absl::UnknownError(absl::StrCat(
      what, ": ", exit->oom_killed ? "cannot allocate memory" : absl::StrCat("exit code: ", exit->code), FullDiskNote(environment_->parts.work_dir)));
  SetNumber(failure, kExitCodePayload, exit->code);
  return failure;
}

absl::StatusOr<std::vector<solver::ResultPtr>> ExecOperation::Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) {
  ASSIGN_OR_RETURN(const std::shared_ptr<void> slot, environment_->parts.exec_slots->Acquire(context.cancel));
  RETURN_IF_ERROR(MaterializeAll(*environment_, inputs, context.cancel));
  ExecMounts mounts(*environment_, vertex_->Name());
  absl::Status status = mounts.Prepare(op_.mounts, op_.meta.cwd, inputs, context.cancel);
  if (status.ok()) status = RunProcess(mounts, context);
  if (status.ok()) return mounts.CommitOutputs();
  if (environment_->kept_trees == nullptr || context.cancel.cancelled()) return status;
  if (IsFull(environment_->parts.work_dir)) return status;  // what the step has written would keep others from working
  const std::vector<solver::ResultPtr> used = InputsOfMounts(op_, inputs);
  std::vector<solver::ResultPtr> left = mounts.CommitFailed();
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (left[i] == nullptr) left[i] = used[i];
  }
  AttachTrees(*environment_, used, left, status);
  return status;
}

}  // namespace cachalot::op
