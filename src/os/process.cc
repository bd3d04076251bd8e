#include "os/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace cachalot::os {
namespace {

std::int64_t Microseconds(const struct timeval& time) { return static_cast<std::int64_t>(time.tv_sec) * 1000000 + time.tv_usec; }

ProcessExit ExitOf(const siginfo_t& info, const struct rusage& usage) {
  ProcessExit exit;
  if (info.si_code == CLD_EXITED) {
    exit.code = info.si_status;
  } else {
    exit.signal = info.si_status;
    exit.code = 128 + info.si_status;
  }
  exit.cpu_user_us = Microseconds(usage.ru_utime);
  exit.cpu_system_us = Microseconds(usage.ru_stime);
  exit.memory_peak_bytes = static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
  exit.io_read_bytes = static_cast<std::int64_t>(usage.ru_inblock) * 512;
  exit.io_write_bytes = static_cast<std::int64_t>(usage.ru_oublock) * 512;
  return exit;
}

absl::StatusOr<ProcessExit> Reap(int pidfd) {
  siginfo_t info = {};
  struct rusage usage = {};
  // The raw call: glibc's waitid() has no place for the resource usage.
  while (::syscall(SYS_waitid, P_PIDFD, pidfd, &info, WEXITED, &usage) != 0) {
    if (errno != EINTR) return ErrnoError("wait for a child process");
  }
  return ExitOf(info, usage);
}

bool Readable(int fd, int timeout_ms) {
  struct pollfd poll_fd = {fd, POLLIN, 0};
  return ::poll(&poll_fd, 1, timeout_ms) > 0;
}

void AddDescendants(pid_t pid, std::vector<pid_t>& found) {
  constexpr std::size_t kMaxList = 1 << 20;
  // A child belongs to the thread that made it.
  absl::StatusOr<std::vector<DirectoryEntry>> threads = ListDirectory(absl::StrCat("/proc/", pid, "/task"));
  if (!threads.ok()) return;
  for (const DirectoryEntry& thread : *threads) {
    std::string list = ReadFile(absl::StrCat("/proc/", pid, "/task/", thread.name, "/children"), kMaxList).value_or("");
    for (absl::string_view word : absl::StrSplit(list, ' ', absl::SkipEmpty())) {
      pid_t child = 0;
      if (!absl::SimpleAtoi(word, &child)) continue;
      found.push_back(child);
      AddDescendants(child, found);
    }
  }
}

}  // namespace

void OpenStandardDescriptors() {
  int fd = -1;
  do {
    fd = ::open("/dev/null", O_RDWR);  // the lowest one that is free; children are to have it
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) ::close(fd);
}

ChildProcess::~ChildProcess() {
  if (!pidfd_.valid() || exit_.has_value()) return;
  Kill();
  (void)Reap(pidfd_.get());
}

absl::Status ChildProcess::AwaitEnd(const CancelToken& cancel) const {
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC));
  if (!wake.valid()) return ErrnoError("eventfd");
  CancelToken::Registration registration = cancel.OnCancel([&] {
    std::uint64_t one = 1;
    (void)!::write(wake.get(), &one, sizeof one);
  });
  struct pollfd events[2] = {{pidfd_.get(), POLLIN, 0}, {wake.get(), POLLIN, 0}};
  while (events[0].revents == 0) {
    if (events[1].revents != 0) return cancel.status();
    if (::poll(events, 2, -1) < 0 && errno != EINTR) return ErrnoError("poll a child process");
  }
  return absl::OkStatus();
}

absl::StatusOr<ProcessExit> ChildProcess::Wait(const CancelToken& cancel) {
  if (exit_.has_value()) return *exit_;
  RETURN_IF_ERROR(AwaitEnd(cancel));
  ASSIGN_OR_RETURN(exit_, Reap(pidfd_.get()));
  return *exit_;
}

bool ChildProcess::EndsWithin(int milliseconds) const { return Readable(pidfd_.get(), milliseconds); }

absl::Status ChildProcess::Signal(int signal) const {
  if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0) == 0 || errno == ESRCH) return absl::OkStatus();
  return ErrnoError(absl::StrCat("send signal ", signal, " to process ", pid_));
}

void ChildProcess::Kill() const { (void)Signal(SIGKILL); }

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = ::getenv("PATH");
  for (absl::string_view directory : absl::StrSplit(path != nullptr ? path : "/usr/sbin:/usr/bin:/sbin:/bin", ':', absl::SkipEmpty())) {
    std::string candidate = absl::StrCat(directory, "/", name);
    struct stat found;
    if (!name.empty() && ::stat(candidate.c_str(), &found) == 0 && S_ISREG(found.st_mode) && ::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return absl::NotFoundError(absl::StrCat("exec: \"", name, "\": executable file not found in $PATH"));
}

std::vector<pid_t> Descendants(pid_t pid) {
  std::vector<pid_t> found;
  AddDescendants(pid, found);
  return found;
}

}  // namespace cachalot::os
