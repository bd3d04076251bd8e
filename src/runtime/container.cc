#include "runtime/container.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "base/log.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "runtime/bundle_config.h"

namespace cachalot::runtime {
namespace {

// How long the program gets to notice that its container is dead, per attempt and in all.
constexpr int kKillAttemptMs = 20;
constexpr int kKillAttempts = 150;

// The exit code for a program that could not be executed, by the runtime's message; 0 when that was not what failed.
int ExecFailureCode(absl::string_view error) {
  bool execution = absl::StrContains(error, "executable file") || absl::StrContains(error, "exec container process") ||
                   absl::StrContains(error, "open executable") || absl::StrContains(error, "exec: \"") || absl::StrContains(error, "exec /");
  if (!execution) return 0;
  if (absl::StrContains(error, "not found") || absl::StrContains(error, "No such file") || absl::StrContains(error, "no such file")) return 127;
  return 126;
}

}  // namespace

Bundle::~Bundle() {
  if (path_.empty()) return;
  for (auto mount = mounts_.rbegin(); mount != mounts_.rend(); ++mount) (void)os::Unmount(*mount);
  absl::Status status = os::RemoveTree(path_);
  if (!status.ok()) LogWarning("remove a bundle: ", status.message());
  for (const std::string& file : files_) ::unlink(file.c_str());
}

absl::StatusOr<std::string> Bundle::AddMount(const os::Mount& mount) {
  std::string target = absl::StrCat(path_, "/mount", mounts_.size());
  RETURN_IF_ERROR(os::MakeDirectories(target, 0700));
  RETURN_IF_ERROR(os::MountAt(mount, target));
  mounts_.push_back(target);
  return target;
}

absl::Status Bundle::AddFile(const std::string& path, absl::string_view content) {
  ASSIGN_OR_RETURN(const UniqueFd fd, os::Open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  files_.push_back(path);
  return os::WriteAll(fd.get(), content, path);
}

std::int64_t OomKills() {
  static const int fd = ::open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
  char buffer[32768];
  ssize_t n = fd >= 0 ? ::pread(fd, buffer, sizeof buffer, 0) : -1;
  if (n <= 0) return -1;
  absl::string_view text(buffer, static_cast<std::size_t>(n));
  std::size_t at = text.find("\noom_kill ");
  std::int64_t count = -1;
  if (at == absl::string_view::npos) return -1;
  text.remove_prefix(at + 10);
  return absl::SimpleAtoi(text.substr(0, text.find('\n')), &count) ? count : -1;
}

ToolProcess::ToolProcess(os::ChildProcess child, Parts parts) : child_(std::move(child)), parts_(std::move(parts)), oom_kills_before_(OomKills()) {}

ToolProcess::~ToolProcess() {
  if (result_.has_value()) return;
  Kill();
  (void)Finish();
}

void ToolProcess::KillDescendants() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (reaped_) return;
  // The container's first process takes all others along.
  for (pid_t pid : os::Descendants(child_.pid())) ::kill(pid, SIGKILL);
}

void ToolProcess::Kill() {
  for (int attempt = 0; attempt < kKillAttempts; ++attempt) {
    // Again and again: the program may have been about to start what is to be killed.
    KillDescendants();
    if (child_.EndsWithin(kKillAttemptMs)) return;
  }
  LogWarning(parts_.name, " survives being killed; killing its runtime");
  child_.Kill();
  if (parts_.cgroup.has_value()) {
    if (absl::Status status = parts_.cgroup->Kill(); !status.ok()) LogWarning(status.message());
  }
}

absl::Status ToolProcess::AwaitStart(const CancelToken& cancel) {
  return Annotate(Tool::AwaitFile(parts_.started_file, child_, cancel), parts_.name);
}

absl::StatusOr<ExitStatus> ToolProcess::Wait(const CancelToken& cancel) {
  if (result_.has_value()) return *result_;
  if (absl::Status status = child_.AwaitEnd(cancel); !status.ok()) {
    Kill();
    (void)Finish();
    result_ = status;
    return status;
  }
  result_ = Finish();
  return *result_;
}

absl::StatusOr<ExitStatus> ToolProcess::Finish() {
  RETURN_IF_ERROR(child_.AwaitEnd());
  os::ProcessExit exit;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    reaped_ = true;
    ASSIGN_OR_RETURN(exit, child_.Wait());
  }
  if (parts_.terminal != nullptr) parts_.terminal->Finish();
  ExitStatus status;
  status.code = exit.code;
  status.usage = {exit.cpu_user_us, exit.cpu_system_us, exit.memory_peak_bytes, exit.io_read_bytes, exit.io_write_bytes};
  if (status.code == 128 + SIGKILL) status.oom_killed = OomKills() > oom_kills_before_;
  // The program's own failures look like the container's exit code 1, but for what it logs.
  std::string error = status.code == 0 ? "" : parts_.tool->LastError(parts_.log);
  if (error.empty()) return status;
  if (int code = ExecFailureCode(error); code != 0) {
    status.code = code;
    return status;
  }
  return absl::InternalError(absl::StrCat("start ", parts_.name, ": ", error));
}

absl::Status ToolProcess::Signal(int signal) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (reaped_) return absl::OkStatus();
  std::vector<pid_t> descendants = os::Descendants(child_.pid());
  if (descendants.empty()) return absl::FailedPreconditionError(absl::StrCat(parts_.name, " has not started yet"));
  if (::kill(descendants.front(), signal) != 0 && errno != ESRCH) return ErrnoError(absl::StrCat("signal ", parts_.name));
  return absl::OkStatus();
}

absl::Status ToolProcess::Resize(int rows, int columns) {
  if (parts_.terminal == nullptr) return absl::FailedPreconditionError(absl::StrCat(parts_.name, " has no terminal"));
  return parts_.terminal->Resize(rows, columns);
}

ToolContainer::ToolContainer(Parts parts, Bundle bundle, std::unique_ptr<ToolProcess> init, os::Cgroup cgroup)
    : parts_(std::move(parts)), bundle_(std::move(bundle)), cgroup_(std::move(cgroup)), init_(std::move(init)) {}

ToolContainer::~ToolContainer() {
  init_.reset();
  // The program has removed these unless it failed or was killed.
  parts_.tool->Forget(parts_.id);
  cgroup_.Remove();
  parts_.stubs.Remove();
}

absl::StatusOr<std::unique_ptr<Process>> ToolContainer::Exec(const ProcessSpec& process, Streams streams, const CancelToken& cancel) {
  if (process.args.empty()) return absl::InvalidArgumentError("exec: no arguments");
  RETURN_IF_ERROR(init_->AwaitStart(cancel));
  ProcessSpec merged = process;
  if (merged.env.empty()) merged.env = parts_.process.env;
  if (merged.cwd.empty()) merged.cwd = parts_.process.cwd;
  User user = parts_.user;
  if (!process.user.empty()) {
    ASSIGN_OR_RETURN(user, LookUpUser(parts_.root.get(), process.user));
  }
  std::string directory = absl::StrCat(bundle_.path(), "/exec-", RandomId());
  RETURN_IF_ERROR(os::MakeDirectories(directory, 0700));
  RETURN_IF_ERROR(os::WriteFileAtomic(directory + "/process.json", ProcessConfig(merged, user, parts_.privileged, parts_.apparmor_profile), 0600));
  ToolProcess::Parts process_parts;
  process_parts.started_file = directory + "/pid";
  std::vector<std::string> arguments = {"exec", "--process", directory + "/process.json", "--pid-file", process_parts.started_file};
  process_parts.tool = parts_.tool;
  process_parts.name = absl::StrCat("a process in container ", parts_.id);
  process_parts.log = directory + "/log.json";
  ASSIGN_OR_RETURN(process_parts.terminal, Attach(process, streams, directory, *parts_.tool, arguments));
  arguments.push_back(parts_.id);
  os::Command command = parts_.tool->MakeCommand(process_parts.log, std::move(arguments));
  command.stdin_fd = streams.in.get();
  command.stdout_fd = streams.out.get();
  command.stderr_fd = streams.err.get();
  ASSIGN_OR_RETURN(os::ChildProcess child, parts_.tool->Spawn(command));
  return std::make_unique<ToolProcess>(std::move(child), std::move(process_parts));
}

absl::StatusOr<std::unique_ptr<Terminal>> Attach(const ProcessSpec& process, Streams& streams, const std::string& directory, const Tool& tool,
                                                 std::vector<std::string>& arguments) {
  if (!process.tty) return std::unique_ptr<Terminal>();
  if (!tool.is_crun()) return absl::UnimplementedError("terminals need crun");
  UniqueFd err(streams.out.valid() ? ::fcntl(streams.out.get(), F_DUPFD_CLOEXEC, 0) : -1);
  ASSIGN_OR_RETURN(std::unique_ptr<Terminal> terminal, Terminal::Listen(directory, std::move(streams.in), std::move(streams.out)));
  streams = Streams{UniqueFd(), UniqueFd(), std::move(err)};
  arguments.insert(arguments.end(), {"--console-socket", terminal->socket_path()});
  return terminal;
}

}  // namespace cachalot::runtime
