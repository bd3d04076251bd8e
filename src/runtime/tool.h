// The OCI runtime program (crun, or runc) and how it is called. Internal to the room.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "os/process.h"

namespace cachalot::runtime {

class Tool {
 public:
  // `binary` is looked up on PATH; the program keeps its state below `root`, which must exist.
  static absl::StatusOr<std::unique_ptr<Tool>> Find(const std::string& binary, const std::string& root);

  bool is_crun() const { return is_crun_; }
  const std::string& root() const { return root_; }
  // The command "<program> <global options> <arguments>" without descriptors. Errors of the program itself go to the file `log`,
  // and to its error stream.
  os::Command MakeCommand(const std::string& log, std::vector<std::string> arguments) const;
  absl::StatusOr<os::ChildProcess> Spawn(const os::Command& command) { return spawner_->Spawn(command); }

  // The file that is there once the program says that the container runs.
  std::string StartedFile(const std::string& id) const;
  // Waits until `file` is there, whose directory may come into being meanwhile. FAILED_PRECONDITION when `process` ends first.
  static absl::Status AwaitFile(const std::string& file, const os::ChildProcess& process, const CancelToken& cancel);
  // The last error in a log of the program's own, or "" when there is none.
  std::string LastError(const std::string& log) const;
  // Removes what the program keeps of a container that is gone.
  void Forget(const std::string& id) const;

 private:
  Tool() = default;

  std::string binary_, root_;
  bool is_crun_ = true;
  UniqueFd program_;  // a sealed copy of the binary, or invalid
  std::unique_ptr<os::Spawner> spawner_;
};

}  // namespace cachalot::runtime
