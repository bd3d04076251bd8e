// The gateway API for frontends in containers: one gRPC server per frontend, which knows only that frontend's gateway.
#pragma once

#include <memory>

#include "build/engine.h"
#include "daemon/blocking_call.h"

namespace cachalot::daemon {

class GrpcFrontendServer final : public build::FrontendServer {
 public:
  // Both outlive it.
  GrpcFrontendServer(build::Engine& engine, const CallContext& calls) : engine_(engine), calls_(calls) {}
  absl::StatusOr<std::unique_ptr<Connection>> Serve(UniqueFd socket, std::shared_ptr<build::GatewayBuild> gateway) override;

 private:
  build::Engine& engine_;
  const CallContext& calls_;
};

}  // namespace cachalot::daemon
