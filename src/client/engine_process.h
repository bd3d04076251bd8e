// The engine of a client without a daemon: a process of its own, which outlives its client while others use it.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "build/engine.h"

namespace cachalot::client {

// A client's part in the engine of a state directory.
class EngineProcess {
 public:
  // Joins the engine that owns config.root, or starts one when there is none. An owner that comes or goes is waited for a while;
  // then UNAVAILABLE names it. CANCELLED when `stop_fd` (-1: none) is readable first. To be called before any other thread starts.
  static absl::StatusOr<std::unique_ptr<EngineProcess>> Find(const build::Config& config, int stop_fd);
  EngineProcess(const EngineProcess&) = delete;
  // Waits for the end of the process, unless others use it still. The connection must be closed before.
  ~EngineProcess();

  // This end of a connection to its services. Once.
  UniqueFd TakeConnection() { return std::move(connection_); }

 private:
  EngineProcess() = default;
  static absl::StatusOr<std::unique_ptr<EngineProcess>> Join(const std::string& root, int stop_fd);
  static absl::StatusOr<std::unique_ptr<EngineProcess>> Start(const build::Config& config, int stop_fd);

  UniqueFd lease_, connection_;
  // Of who started it.
  pid_t pid_ = -1;
  UniqueFd log_;
  std::thread log_reader_;
};

}  // namespace cachalot::client
