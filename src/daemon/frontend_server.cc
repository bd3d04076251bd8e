#include "daemon/frontend_server.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

#include "base/status_macros.h"
#include "daemon/gateway_service.h"
#include "daemon/grpc_server.h"

namespace cachalot::daemon {

namespace {

class GrpcConnection final : public build::FrontendServer::Connection {
 public:
  GrpcConnection(build::Engine& engine, const CallContext& calls, std::shared_ptr<build::GatewayBuild> gateway)
      : service_(engine, calls, std::move(gateway)) {}
  ~GrpcConnection() override {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  absl::Status Start(UniqueFd socket) {
    grpc::ServerBuilder builder;
    SetLimits(builder);
    builder.RegisterService(&service_);
    ASSIGN_OR_RETURN(server_, StartServer(builder));
    return ServeConnection(*server_, std::move(socket));
  }

 private:
  GatewayService service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<build::FrontendServer::Connection>> GrpcFrontendServer::Serve(UniqueFd socket,
                                                                                             std::shared_ptr<build::GatewayBuild> gateway) {
  auto connection = std::make_unique<GrpcConnection>(engine_, calls_, std::move(gateway));
  RETURN_IF_ERROR(connection->Start(std::move(socket)));
  return connection;
}

}  // namespace cachalot::daemon
