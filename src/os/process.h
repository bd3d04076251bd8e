// Child processes of a multi-threaded process: no fork hazards, waited for by pidfd, and dead when this process dies.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/unique_fd.h"

namespace cachalot::os {

// Opens /dev/null for those of 0, 1 and 2 that are closed: what is opened later must not be taken for them. First in main.
void OpenStandardDescriptors();

struct Command {
  std::vector<std::string> argv = {};                // argv[0] is looked up on PATH when it holds no '/'
  std::optional<std::vector<std::string>> env = {};  // "NAME=value"; this process's own when not set
  std::string cwd = {};                              // empty: this process's own
  // When not -1, this open executable runs instead of the one that argv[0] names.
  int program_fd = -1;
  // Descriptors of this process that become 0, 1 and 2 of the child; -1 is /dev/null. They stay the caller's.
  int stdin_fd = -1, stdout_fd = -1, stderr_fd = -1;
  // These become 3, 4, ... of the child. All others are closed there.
  std::vector<int> extra_fds = {};
  // A session of its own: the terminal's signals (^C) do not reach it.
  bool new_session = false;
  int umask = -1;  // the child's; -1: this process's own
};

struct ProcessExit {
  int code = 0;    // 128 + n when killed by signal n
  int signal = 0;  // the signal that killed it, or 0
  // Used by it and by its waited-for children.
  std::int64_t cpu_user_us = 0, cpu_system_us = 0, memory_peak_bytes = 0, io_read_bytes = 0, io_write_bytes = 0;
};

// A started child. One thread waits; any may signal meanwhile.
class ChildProcess {
 public:
  ChildProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  ChildProcess(ChildProcess&&) noexcept = default;
  ChildProcess& operator=(ChildProcess&&) = delete;
  // Kills and reaps it.
  ~ChildProcess();

  // As this process sees it. Stays reserved until Wait() has returned an exit.
  pid_t pid() const { return pid_; }
  // Readable (poll) once the child is gone.
  int pidfd() const { return pidfd_.get(); }
  // Waits for the end and reaps. When `cancel` comes first: its status, and the child runs on; wait again after Kill().
  absl::StatusOr<ProcessExit> Wait(const CancelToken& cancel = {});
  // The same without reaping: the pid stays reserved until Wait().
  absl::Status AwaitEnd(const CancelToken& cancel = {}) const;
  // Waits at most so long; false when it still runs. Does not reap.
  bool EndsWithin(int milliseconds) const;
  // OK also when it has ended.
  absl::Status Signal(int signal) const;
  void Kill() const;

 private:
  pid_t pid_;
  UniqueFd pidfd_;  // invalid once reaped
  std::optional<ProcessExit> exit_;
};

// What ties children to the life of this process.
enum class Containment {
  // A child gets SIGKILL when this process ends. Its own children do not.
  kParentDeath,
  // Children live in one PID namespace of their own, with a mount namespace where /proc shows it and all else is as here: when this
  // process ends, the kernel kills all of them with all their descendants. Needs privileges, EnterPrivateMountNamespace() before, and
  // the program "sleep". A command without a directory starts in "/". Paths like /proc/self/fd/3 mean nothing to the children.
  kPidNamespace,
};

// Starts processes, all from one thread: the kernel ties the parent-death signal to the thread that spawned. Thread-safe. Children may
// outlive the spawner with kParentDeath only until the spawner is destroyed: its end is the death that kills them.
class Spawner {
 public:
  static absl::StatusOr<std::unique_ptr<Spawner>> Create(Containment containment);
  // For processes that need no more than kParentDeath; never destroyed.
  static Spawner& Shared();
  ~Spawner();
  Spawner(const Spawner&) = delete;

  // NOT_FOUND when the program does not exist.
  absl::StatusOr<ChildProcess> Spawn(const Command& command);

 private:
  class Thread;
  explicit Spawner(std::unique_ptr<Thread> thread);
  std::unique_ptr<Thread> thread_;
};

// The program that a shell would run for `name`: searched on PATH unless it holds a '/'.
absl::StatusOr<std::string> FindProgram(const std::string& name);

// The live children of a process, and theirs, deepest last.
std::vector<pid_t> Descendants(pid_t pid);

}  // namespace cachalot::os
