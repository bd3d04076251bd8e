#include "build/frontend_container.h"

#include <csignal>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "build/tree_reader.h"
#include "op/errors.h"
#include "op/process_environment.h"

namespace cachalot::build {
namespace {

constexpr char kWindowsPath[] = "c:\\Windows\\System32;c:\\Windows;C:\\Windows\\System32\\WindowsPowerShell\\v1.0";

constexpr int kKilled = 128 + SIGKILL;

absl::Status ExitError(int code, absl::Status error) {
  op::SetNumber(error, op::kExitCodePayload, code);
  return error;
}

// What clients hear of a process that ended with `exit` when `cancelled` had been asked for, or OK. A failure counts as cancelled
// whatever its code is: a process that was still starting does not end with the code of a killed one.
absl::Status DescribeExit(const absl::StatusOr<runtime::ExitStatus>& exit, const absl::Status& cancelled) {
  if (exit.ok() && exit->code == 0) return absl::OkStatus();
  if (!cancelled.ok()) {
    const int code = exit.ok() ? exit->code : kKilled;
    return ExitError(code, Annotate(cancelled, absl::StrCat("exit code: ", code)));
  }
  if (!exit.ok()) return exit.status();
  const std::string text = absl::StrCat("exit code: ", exit->code);
  return ExitError(exit->code, absl::UnknownError(exit->oom_killed ? absl::StrCat(text, ": cannot allocate memory") : text));
}

runtime::Network NetworkOf(llb::NetMode mode) {
  switch (mode) {
    case llb::NetMode::kSandbox: break;
    case llb::NetMode::kHost: return runtime::Network::kHost;
    case llb::NetMode::kNone: return runtime::Network::kNone;
  }
  return runtime::Network::kSandbox;
}

}  // namespace

class FrontendContainer::Process final : public ContainerProcess {
 public:
  Process(std::shared_ptr<FrontendContainer> container, std::shared_ptr<void> use, runtime::Process& first)
      : container_(std::move(container)), use_(std::move(use)), process_(first) {}
  Process(std::shared_ptr<FrontendContainer> container, std::shared_ptr<void> use, std::unique_ptr<runtime::Process> added)
      : container_(std::move(container)), use_(std::move(use)), added_(std::move(added)), process_(*added_) {}
  ~Process() override {
    if (waited_) return;
    CancelSource kill;
    kill.Cancel();
    (void)Wait(kill.token());
  }

  absl::Status Wait(const CancelToken& cancel) override {
    CancelSource either(container_->stop_.token());
    const CancelToken::Registration link = cancel.OnCancel([&] { either.Cancel(cancel.status()); });
    const absl::StatusOr<runtime::ExitStatus> exit = process_.Wait(either.token());
    const absl::Status status = DescribeExit(exit, either.token().status());
    waited_ = true;
    container_->Ended(status);
    return status;
  }
  absl::Status Signal(int signal) override { return process_.Signal(signal); }
  absl::Status Resize(int rows, int columns) override { return process_.Resize(rows, columns); }

 private:
  // In this order: the use ends when the process is gone.
  const std::shared_ptr<FrontendContainer> container_;
  const std::shared_ptr<void> use_;
  const std::unique_ptr<runtime::Process> added_;
  runtime::Process& process_;
  bool waited_ = false;
};

FrontendContainer::FrontendContainer(std::shared_ptr<BuildCore> core, ContainerRequest request)
    : core_(std::move(core)), request_(std::move(request)), stop_(core_->cancel()) {}

FrontendContainer::~FrontendContainer() { (void)Release(); }

absl::StatusOr<std::shared_ptr<FrontendContainer>> FrontendContainer::Create(std::shared_ptr<BuildCore> core, ContainerRequest request,
                                                                             const std::vector<solver::ResultPtr>& inputs, const CancelToken& cancel,
                                                                             std::vector<runtime::MountPoint> own_mounts) {
  auto container = std::shared_ptr<FrontendContainer>(new FrontendContainer(std::move(core), std::move(request)));
  container->own_mounts_ = std::move(own_mounts);
  container->mounts_ = std::make_unique<op::ExecMounts>(*container->core_->environment(), absl::StrCat("container ", container->request_.id));
  RETURN_IF_ERROR(container->mounts_->Prepare(container->request_.mounts, "", inputs, cancel));
  return container;
}

absl::StatusOr<std::shared_ptr<void>> FrontendContainer::Use() {
  auto state = state_.Lock();
  if (state->released) return absl::NotFoundError(absl::StrCat("container ", request_.id, " was released"));
  ++state->uses;
  return std::shared_ptr<void>(this, [this](void*) {
    --state_.Lock()->uses;
    state_.NotifyAll();
  });
}

absl::Status FrontendContainer::Release() {
  stop_.Cancel();
  auto state = state_.Lock();
  state->released = true;
  state.Wait([](const State& s) { return s.uses == 0; });
  container_.reset();
  mounts_.reset();
  return state->failure;
}

void FrontendContainer::Ended(const absl::Status& status) {
  auto state = state_.Lock();
  if (state->failure.ok()) state->failure = status;
}

absl::Status FrontendContainer::CheckAllowed(const ProcessRequest& request) const {
  llb::Vertex vertex;
  llb::ExecOp& op = vertex.op.emplace<llb::ExecOp>();
  op.network = request_.network;
  op.security = request.security;
  return core_->entitlements().Check(vertex);
}

absl::StatusOr<runtime::ProcessSpec> FrontendContainer::DescribeProcess(const ProcessRequest& request, const CancelToken& cancel) const {
  runtime::ProcessSpec process;
  process.args = request.meta.args;
  process.env = request.meta.env;
  process.cwd = request.meta.cwd.empty() ? "/" : request.meta.cwd;
  process.user = request.meta.user;
  process.tty = request.tty;
  op::AddDefaultVariable("PATH", request_.os == "windows" ? kWindowsPath : op::kDefaultPath, process.env);
  if (request.tty) op::AddDefaultVariable("TERM", "xterm", process.env);
  ASSIGN_OR_RETURN(const std::vector<std::string> secrets, op::SecretVariables(*core_->environment(), request.secret_env, cancel));
  process.env.insert(process.env.end(), secrets.begin(), secrets.end());
  return process;
}

absl::Status FrontendContainer::StartFirst(const ProcessRequest& request, runtime::ProcessSpec process, runtime::Streams streams) {
  const op::Environment& environment = *core_->environment();
  runtime::ContainerSpec spec;
  spec.id = RandomId();  // the frontend's id is unique among its own containers only
  spec.rootfs = mounts_->rootfs();
  spec.readonly_rootfs = mounts_->readonly_rootfs();
  spec.mounts = mounts_->points();
  spec.mounts.insert(spec.mounts.end(), own_mounts_.begin(), own_mounts_.end());
  spec.process = std::move(process);
  if (!request_.hostname.empty()) spec.hostname = request_.hostname;
  for (const llb::HostIp& host : request_.extra_hosts) spec.extra_hosts.emplace_back(host.host, host.ip);
  spec.network = NetworkOf(request_.network);
  spec.privileged = request.security == llb::SecurityMode::kInsecure;
  spec.cgroup_parent = environment.cgroup_parent;
  spec.remove_stub_parents = request.meta.remove_mount_stubs_recursive;
  ASSIGN_OR_RETURN(container_, environment.parts.runtime->Start(spec, std::move(streams)));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ContainerProcess>> FrontendContainer::Start(const ProcessRequest& request, runtime::Streams streams,
                                                                           const CancelToken& cancel) {
  ASSIGN_OR_RETURN(std::shared_ptr<void> use, Use());
  CancelSource either(stop_.token());
  const CancelToken::Registration link = cancel.OnCancel([&] { either.Cancel(cancel.status()); });
  RETURN_IF_ERROR(CheckAllowed(request));
  ASSIGN_OR_RETURN(runtime::ProcessSpec spec, DescribeProcess(request, either.token()));
  std::lock_guard lock(starting_);
  RETURN_IF_ERROR(either.token().status());
  if (!started_) {
    started_ = true;
    RETURN_IF_ERROR(StartFirst(request, std::move(spec), std::move(streams)));
    (void)container_->init().AwaitStart(either.token());  // what went wrong is told by waiting
    return std::make_unique<Process>(shared_from_this(), std::move(use), container_->init());
  }
  if (container_ == nullptr) return absl::FailedPreconditionError(absl::StrCat("container ", request_.id, " has not started"));
  absl::StatusOr<std::unique_ptr<runtime::Process>> added = container_->Exec(spec, std::move(streams), either.token());
  RETURN_IF_ERROR(either.token().status());
  RETURN_IF_ERROR(added.status());
  (void)(*added)->AwaitStart(either.token());
  return std::make_unique<Process>(shared_from_this(), std::move(use), *std::move(added));
}

absl::StatusOr<std::unique_ptr<op::SourceTree>> FrontendContainer::OpenMount(int mount, const std::string& path) const {
  const int count = static_cast<int>(request_.mounts.size());
  if (mount < 0 || mount >= count) {
    return absl::InvalidArgumentError(absl::StrCat("mount index ", mount, " is out of bounds (", count, " available)"));
  }
  if (!absl::StartsWith(path, "/")) return absl::InvalidArgumentError(absl::StrCat("can't make ", path, " relative to /"));
  const std::string directory = mounts_->DirectoryOf(mount);
  if (directory.empty()) return absl::NotFoundError(absl::StrCat("mountable ", mount, " not found"));
  return op::SourceTree::Over({directory});
}

absl::StatusOr<std::string> FrontendContainer::ReadFile(int mount, const std::string& path, std::int64_t offset, std::int64_t length) {
  ASSIGN_OR_RETURN(const std::shared_ptr<void> use, Use());
  ASSIGN_OR_RETURN(const std::unique_ptr<op::SourceTree> tree, OpenMount(mount, path));
  return ReadTreeFile(*tree, path, offset, length);
}

absl::StatusOr<std::vector<llb::FileStat>> FrontendContainer::ReadDir(int mount, const std::string& path, const std::string& include_pattern) {
  ASSIGN_OR_RETURN(const std::shared_ptr<void> use, Use());
  ASSIGN_OR_RETURN(const std::unique_ptr<op::SourceTree> tree, OpenMount(mount, path));
  return ReadTreeDirectory(*tree, path, include_pattern);
}

absl::StatusOr<llb::FileStat> FrontendContainer::StatFile(int mount, const std::string& path) {
  ASSIGN_OR_RETURN(const std::shared_ptr<void> use, Use());
  ASSIGN_OR_RETURN(const std::unique_ptr<op::SourceTree> tree, OpenMount(mount, path));
  return StatTreeFile(*tree, path);
}

}  // namespace cachalot::build
