// A container that crun runs. Internal to the room.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "os/cgroup.h"
#include "runtime/network.h"
#include "runtime/runtime.h"
#include "runtime/stubs.h"
#include "runtime/terminal.h"
#include "runtime/tool.h"
#include "runtime/user.h"

namespace cachalot::runtime {

// The directory of one container: its description, log, socket, and mounts made for it. Removed with all of that.
class Bundle {
 public:
  explicit Bundle(std::string path) : path_(std::move(path)) {}
  Bundle(Bundle&& other) noexcept
      : path_(std::exchange(other.path_, "")), mounts_(std::move(other.mounts_)), files_(std::exchange(other.files_, {})) {}
  Bundle& operator=(Bundle&&) = delete;
  ~Bundle();

  const std::string& path() const { return path_; }
  // Mounts in a new directory of the bundle and returns its path.
  absl::StatusOr<std::string> AddMount(const os::Mount& mount);
  // Makes a file elsewhere that goes with the bundle.
  absl::Status AddFile(const std::string& path, absl::string_view content);

 private:
  std::string path_;
  std::vector<std::string> mounts_, files_;
};

// How many processes the kernel has killed for want of memory since it started; -1 when it does not tell.
std::int64_t OomKills();

// A call of the program that runs a process in a container until it ends.
class ToolProcess final : public Process {
 public:
  struct Parts {
    std::shared_ptr<Tool> tool;
    std::string name;  // for error messages
    std::string log;
    std::string started_file;            // is there once the process runs
    std::unique_ptr<Terminal> terminal;  // or null
    std::optional<os::Cgroup> cgroup;    // of the whole container, for its first process alone
  };
  ToolProcess(os::ChildProcess child, Parts parts);
  ~ToolProcess() override;

  absl::Status AwaitStart(const CancelToken& cancel) override;
  absl::StatusOr<ExitStatus> Wait(const CancelToken& cancel) override;
  absl::Status Signal(int signal) override;
  absl::Status Resize(int rows, int columns) override;

  void Kill();

 private:
  absl::StatusOr<ExitStatus> Finish();
  void KillDescendants();

  os::ChildProcess child_;
  Parts parts_;
  const std::int64_t oom_kills_before_;
  std::mutex mutex_;
  bool reaped_ = false;                               // guarded by mutex_: the pid may be someone else's
  std::optional<absl::StatusOr<ExitStatus>> result_;  // the waiting thread's
};

class ToolContainer final : public Container {
 public:
  struct Parts {
    std::shared_ptr<Tool> tool;
    std::string id;
    ProcessSpec process;
    User user;
    UniqueFd root;
    bool privileged = false;
    std::string apparmor_profile;
    std::unique_ptr<ContainerNetwork> network;
    MountStubs stubs;
  };
  ToolContainer(Parts parts, Bundle bundle, std::unique_ptr<ToolProcess> init, os::Cgroup cgroup);
  ~ToolContainer() override;

  Process& init() override { return *init_; }
  absl::StatusOr<std::unique_ptr<Process>> Exec(const ProcessSpec& process, Streams streams, const CancelToken& cancel) override;

 private:
  Parts parts_;
  Bundle bundle_;
  os::Cgroup cgroup_;
  std::unique_ptr<ToolProcess> init_;
};

// Puts the streams of a process into the command: directly, or through a terminal, whose socket is made in `directory`.
absl::StatusOr<std::unique_ptr<Terminal>> Attach(const ProcessSpec& process, Streams& streams, const std::string& directory, const Tool& tool,
                                                 std::vector<std::string>& arguments);

}  // namespace cachalot::runtime
