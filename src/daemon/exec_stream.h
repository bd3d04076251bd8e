// One ExecProcess call: the processes that a frontend starts in its containers, with their input and output.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/guarded.h"
#include "base/worker_pool.h"
#include "build/engine.h"
#include "buildkit/gateway.pb.h"
#include "daemon/blocking_call.h"

namespace cachalot::daemon {

using ExecCall = BidiCall<moby::buildkit::v1::frontend::ExecMessage, moby::buildkit::v1::frontend::ExecMessage>;

// A process is started by its Init message and answered by Started, then by what it prints, Exit and Done. One that cannot be
// started ends like one that ran; what breaks the protocol (an unknown process, a doubled id) ends the call.
class ExecStream {
 public:
  // All outlive it. `pool` gives two threads per process.
  ExecStream(build::GatewayBuild& build, ExecCall& call, WorkerPool& pool) : build_(build), call_(call), pool_(pool) {}

  // Returns when the client sends no more and all processes have ended. They are killed when the client goes.
  absl::Status Run();

 private:
  using Message = moby::buildkit::v1::frontend::ExecMessage;
  class Process;
  absl::Status Handle(const Message& message);
  absl::Status Start(const std::string& id, const moby::buildkit::v1::frontend::InitMessage& init);
  // Runs `work`, which Run waits for, on a thread of its own.
  void Spawn(std::function<void()> work);

  build::GatewayBuild& build_;
  ExecCall& call_;
  WorkerPool& pool_;
  std::map<std::string, std::shared_ptr<Process>> processes_;  // of the reading thread
  Guarded<int> working_;                                       // threads
};

}  // namespace cachalot::daemon
