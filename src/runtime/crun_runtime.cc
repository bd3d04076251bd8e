#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "runtime/bundle_config.h"
#include "runtime/cdi_edits.h"
#include "runtime/container.h"
#include "runtime/etc_files.h"
#include "runtime/runtime.h"
#include "runtime/seccomp.h"
#include "tree/resolve.h"

namespace cachalot::runtime {
namespace {

constexpr char kHostFile[] = "/proc/self/exe";  // any file tells that a file is bound
// The runtime gets mount options in one page; longer overlays are mounted by us and bound.
constexpr std::size_t kMaxMountOptions = 4096 - 512;

absl::Status CheckId(const std::string& id) {
  bool good = !id.empty() && id.size() <= 128 && id[0] != '.' && id[0] != '-';
  for (char c : id) good = good && (absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.');
  return good ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat("container id \"", id, "\" is not valid"));
}

// Long overlays are mounted beforehand, in the bundle.
absl::Status ShortenMounts(std::vector<MountPoint>& mounts, Bundle& bundle) {
  for (MountPoint& point : mounts) {
    if (point.mount.type != "overlay") continue;
    std::size_t size = 0;
    for (const std::string& option : point.mount.options) size += option.size() + 1;
    if (size < kMaxMountOptions) continue;
    ASSIGN_OR_RETURN(std::string path, bundle.AddMount(point.mount));
    point.mount = os::Mount{"bind", path, {"rbind"}};
  }
  return absl::OkStatus();
}

absl::Status MakeWorkingDirectory(int root_fd, const std::string& cwd, const User& user) {
  if (os::OpenInRoot(root_fd, cwd, O_PATH | O_DIRECTORY).ok()) return absl::OkStatus();
  absl::StatusOr<UniqueFd> made = tree::MakeDirectories(root_fd, cwd, {.mode = 0755, .uid = user.uid, .gid = user.gid});
  return Annotate(made.status(), absl::StrCat("failed to create working directory ", cwd));
}

// What devices bring along, except for nodes and hooks: the bundle's description takes those from `spec.devices`.
absl::Status ApplyDevices(ContainerSpec& spec) {
  for (DeviceNode& node : spec.devices.nodes) RETURN_IF_ERROR(CompleteNode(node));
  for (const DeviceMount& mount : spec.devices.mounts) spec.mounts.push_back({mount.dest, mount.mount});
  for (const std::string& variable : spec.devices.env) {
    const absl::string_view name = absl::string_view(variable).substr(0, variable.find('=') + 1);
    std::erase_if(spec.process.env, [&](const std::string& other) { return absl::StartsWith(other, name); });
    spec.process.env.push_back(variable);
  }
  return absl::OkStatus();
}

class CrunRuntime final : public Runtime {
 public:
  explicit CrunRuntime(Config config)
      : config_(std::move(config)),
        bundles_(config_.state_dir + "/run/containers"),
        states_(config_.state_dir + "/run/state"),
        layout_(os::CgroupLayout::Detect()),
        etc_files_(config_.state_dir + "/etc", config_.resolv_conf, {config_.dns_servers, config_.dns_search, config_.dns_options}),
        host_network_(NewHostNetwork()),
        no_network_(NewNoNetwork()) {}

  ~CrunRuntime() override {
    tool_.reset();
    if (absl::Status status = os::Unmount(config_.state_dir + "/run"); !status.ok()) LogWarning(status.message());
  }

  absl::Status Init() {
    if (config_.selinux) return absl::UnimplementedError("selinux is not available");
    RETURN_IF_ERROR(RemoveLeftOvers());
    for (const char* name : {"/etc", "/cgroups", "/run"}) RETURN_IF_ERROR(os::MakeDirectories(config_.state_dir + name, 0700));
    // What describes a container, its environment with all secrets too, must not reach a disk: the bundle, and the program's copy of it.
    RETURN_IF_ERROR(os::MountMemory(config_.state_dir + "/run"));
    for (const std::string& path : {bundles_, states_}) RETURN_IF_ERROR(os::MakeDirectories(path, 0700));
    if (layout_.unified_beside_v1()) LogWarning("crun before 1.9 refuses this host's hybrid control groups");
    ASSIGN_OR_RETURN(std::unique_ptr<Tool> tool, Tool::Find(config_.binary, states_));
    tool_ = std::move(tool);
    if (config_.cni.has_value()) {
      ASSIGN_OR_RETURN(sandbox_network_, NewCniNetwork(*config_.cni, config_.state_dir + "/net"));
    }
    // Control group namespaces fail on some hosts with v1 hierarchies.
    cgroup_namespace_ = layout_.kind() == os::CgroupLayout::Kind::kV2;
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Container>> Start(const ContainerSpec& spec, Streams streams) override {
    ASSIGN_OR_RETURN(std::unique_ptr<ToolContainer> container, StartTool(spec, std::move(streams)));
    return std::unique_ptr<Container>(std::move(container));
  }

  absl::StatusOr<std::unique_ptr<ContainerNetwork>> Connect(Network network) override { return ProviderOf(network).Attach("", ""); }

  absl::StatusOr<ExitStatus> Run(const ContainerSpec& spec, Streams streams, const CancelToken& cancel) override {
    RETURN_IF_ERROR(cancel.status());
    ASSIGN_OR_RETURN(std::unique_ptr<ToolContainer> container, StartTool(spec, std::move(streams)));
    return container->init().Wait(cancel);
  }

 private:
  // The file that says, after a crash too, which control group a container is in.
  std::string CgroupFile(const std::string& id) const { return absl::StrCat(config_.state_dir, "/cgroups/", id); }

  absl::Status RemoveLeftOvers() {
    const std::vector<os::DirectoryEntry> none;
    for (const os::DirectoryEntry& entry : os::ListDirectory(config_.state_dir + "/cgroups").value_or(none)) {
      constexpr std::size_t kMaxPath = 1 << 16;
      const std::string file = CgroupFile(entry.name);
      // After a loss of power the file may hold anything, zeros for one; only the group of that very container may be killed.
      const std::string path = os::ReadFile(file, kMaxPath).value_or("");
      if (CleanDestination(path) == path && path != "/" && absl::EndsWith(path, entry.name) && !absl::StrContains(path, '\0')) {
        os::Cgroup cgroup(layout_, path);
        if (absl::Status status = cgroup.Kill(); !status.ok()) LogWarning(status.message());
        cgroup.Remove();
      }
      if (::unlink(file.c_str()) != 0) return ErrnoError(absl::StrCat("remove ", file));
    }
    // What was mounted is here only if this process shares its mount namespace with the one before.
    for (const os::DirectoryEntry& bundle : os::ListDirectory(bundles_).value_or(none)) {
      for (const os::DirectoryEntry& part : os::ListDirectory(absl::StrCat(bundles_, "/", bundle.name)).value_or(none)) {
        if (absl::StartsWith(part.name, "mount")) (void)os::Unmount(absl::StrCat(bundles_, "/", bundle.name, "/", part.name));
      }
    }
    RETURN_IF_ERROR(os::Unmount(config_.state_dir + "/run"));
    // Earlier versions kept the last two on the disk.
    for (const char* name : {"/run", "/containers", "/state"}) RETURN_IF_ERROR(os::RemoveTree(config_.state_dir + name));
    return absl::OkStatus();
  }

  // The system call filter for unprivileged containers, made at the first need.
  absl::Status AddSeccomp(BundleInput& input) {
    std::call_once(seccomp_once_, [this] {
      if (!SeccompSupported()) return;
      if (tool_->is_crun()) {
        absl::StatusOr<std::string> program = SeccompProgramBase64(config_.state_dir + "/etc");
        seccomp_status_ = program.status();
        seccomp_program_ = std::move(program).value_or("");
        seccomp_ = R"({"defaultAction":"SCMP_ACT_ERRNO"})";
      } else {
        seccomp_ = SeccompProfileJson();
      }
    });
    input.seccomp = seccomp_;
    input.seccomp_program = seccomp_program_;
    return seccomp_status_;
  }

  NetworkProvider& ProviderOf(Network network) {
    if (network == Network::kNone) return *no_network_;
    return network == Network::kSandbox && sandbox_network_ != nullptr ? *sandbox_network_ : *host_network_;
  }

  absl::StatusOr<std::unique_ptr<ContainerNetwork>> AttachNetwork(const ContainerSpec& spec) {
    if (!spec.network_namespace.empty()) return JoinNetwork(spec.network_namespace);
    return ProviderOf(spec.network).Attach(spec.id, spec.hostname == kDefaultHostname ? "" : spec.hostname);
  }

  absl::StatusOr<std::string> HostsPath(const ContainerSpec& spec, const std::string& bundle) {
    if (spec.extra_hosts.empty() && spec.hostname == kDefaultHostname) return etc_files_.DefaultHostsPath();
    std::string path = bundle + "/hosts";
    RETURN_IF_ERROR(os::WriteFileAtomic(path, HostsFile(spec.hostname, spec.extra_hosts)));
    return path;
  }

  absl::StatusOr<BundleInput> MakeInput(const ContainerSpec& spec, const ContainerNetwork& network, const std::string& bundle) {
    BundleInput input;
    ASSIGN_OR_RETURN(input.resolv_conf, etc_files_.ResolvConfPath(network.is_host()));
    ASSIGN_OR_RETURN(input.hosts, HostsPath(spec, bundle));
    input.cgroup_path = CgroupPath(spec.cgroup_parent, spec.id);
    input.host_network = network.is_host();
    input.network_namespace = network.namespace_path();
    input.cgroup_namespace = cgroup_namespace_;
    input.apparmor_profile = config_.apparmor_profile;
    if (!spec.privileged) RETURN_IF_ERROR(AddSeccomp(input));
    return input;
  }

  // A tmpfs gets the mode of the directory that it covers, as with runc.
  static void TakeMode(int root, const std::string& destination, os::Mount& mount) {
    const auto is_mode = [](const std::string& option) { return absl::StartsWith(option, "mode="); };
    if (mount.type != "tmpfs" || std::any_of(mount.options.begin(), mount.options.end(), is_mode)) return;
    const absl::StatusOr<UniqueFd> covered = os::OpenInRoot(root, destination, O_PATH | O_DIRECTORY);
    const absl::StatusOr<struct stat> st = covered.ok() ? os::Stat(covered->get()) : covered.status();
    if (st.ok()) mount.options.push_back(absl::StrFormat("mode=%o", st->st_mode & 07777));
  }

  absl::StatusOr<ToolContainer::Parts> MakeParts(ContainerSpec& spec) {
    ASSIGN_OR_RETURN(UniqueFd root, os::Open(spec.rootfs, O_PATH | O_DIRECTORY));
    UniqueFd stubs_root(::fcntl(root.get(), F_DUPFD_CLOEXEC, 0));
    std::vector<MountStubs::Point> points = {{.destination = "/proc", .stays = true},
                                             {.destination = "/dev", .stays = true},
                                             {.destination = "/sys", .stays = true},
                                             {.destination = "/etc/resolv.conf", .source = kHostFile},
                                             {.destination = "/etc/hosts", .source = kHostFile}};
    for (MountPoint& point : spec.mounts) {
      const std::string destination = CleanDestination(point.dest);
      const auto holds = [&](const MountStubs::Point& other) { return IsBeneath(destination, other.destination); };
      if (std::none_of(points.begin(), points.end(), holds)) TakeMode(root.get(), destination, point.mount);
      const bool readonly = point.readonly || std::count(point.mount.options.begin(), point.mount.options.end(), "ro") > 0;
      points.push_back({.destination = destination, .source = point.mount.type == "bind" ? point.mount.source : "", .readonly = readonly});
    }
    RETURN_IF_ERROR(MountStubs::Check(root.get(), points));
    ASSIGN_OR_RETURN(MountStubs stubs, MountStubs::Make(std::move(stubs_root), points, spec.remove_stub_parents));
    ASSIGN_OR_RETURN(User user, LookUpUser(root.get(), spec.process.user));
    user.groups.insert(user.groups.end(), spec.devices.groups.begin(), spec.devices.groups.end());
    ASSIGN_OR_RETURN(std::unique_ptr<ContainerNetwork> network, AttachNetwork(spec));
    return ToolContainer::Parts{.tool = tool_,
                                .id = spec.id,
                                .process = spec.process,
                                .user = std::move(user),
                                .root = std::move(root),
                                .privileged = spec.privileged,
                                .apparmor_profile = config_.apparmor_profile,
                                .network = std::move(network),
                                .stubs = std::move(stubs)};
  }

  absl::StatusOr<std::unique_ptr<ToolContainer>> StartTool(ContainerSpec spec, Streams streams) {
    RETURN_IF_ERROR(CheckId(spec.id));
    if (spec.process.args.empty()) return absl::InvalidArgumentError(absl::StrCat("container ", spec.id, ": no arguments"));
    RETURN_IF_ERROR(ApplyDevices(spec));
    std::string path = absl::StrCat(bundles_, "/", spec.id);
    if (::mkdir(path.c_str(), 0700) != 0) return ErrnoError(absl::StrCat("make the bundle of container ", spec.id));
    Bundle bundle(path);
    ASSIGN_OR_RETURN(ToolContainer::Parts parts, MakeParts(spec));
    RETURN_IF_ERROR(MakeWorkingDirectory(parts.root.get(), spec.process.cwd.empty() ? "/" : spec.process.cwd, parts.user));
    RETURN_IF_ERROR(ShortenMounts(spec.mounts, bundle));
    ASSIGN_OR_RETURN(BundleInput input, MakeInput(spec, *parts.network, path));
    ASSIGN_OR_RETURN(UniqueFd config, os::Open(path + "/config.json", O_WRONLY | O_CREAT | O_EXCL, 0600));
    RETURN_IF_ERROR(os::WriteAll(config.get(), BundleConfig(spec, parts.user, input), path + "/config.json"));

    RETURN_IF_ERROR(bundle.AddFile(CgroupFile(spec.id), input.cgroup_path));
    os::Cgroup cgroup(layout_, input.cgroup_path);
    ToolProcess::Parts process;
    process.tool = tool_;
    process.name = absl::StrCat("container ", spec.id);
    process.log = path + "/log.json";
    process.started_file = tool_->StartedFile(spec.id);
    process.cgroup = cgroup;
    std::vector<std::string> arguments = {"run", "--bundle", path};
    ASSIGN_OR_RETURN(process.terminal, Attach(spec.process, streams, path, *tool_, arguments));
    arguments.push_back(spec.id);
    os::Command command = tool_->MakeCommand(process.log, std::move(arguments));
    command.stdin_fd = streams.in.get();
    command.stdout_fd = streams.out.get();
    command.stderr_fd = streams.err.get();
    ASSIGN_OR_RETURN(os::ChildProcess child, tool_->Spawn(command));
    auto init = std::make_unique<ToolProcess>(std::move(child), std::move(process));
    return std::make_unique<ToolContainer>(std::move(parts), std::move(bundle), std::move(init), std::move(cgroup));
  }

  const Config config_;
  const std::string bundles_, states_;  // directories, in memory
  const os::CgroupLayout layout_;
  EtcFiles etc_files_;
  const std::unique_ptr<NetworkProvider> host_network_, no_network_;
  std::unique_ptr<NetworkProvider> sandbox_network_;  // or null: the host's
  std::shared_ptr<Tool> tool_;
  bool cgroup_namespace_ = false;
  std::once_flag seccomp_once_;
  std::string seccomp_, seccomp_program_;
  absl::Status seccomp_status_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Runtime>> Runtime::Create(Config config) {
  auto runtime = std::make_unique<CrunRuntime>(std::move(config));
  RETURN_IF_ERROR(runtime->Init());
  return std::unique_ptr<Runtime>(std::move(runtime));
}

}  // namespace cachalot::runtime
