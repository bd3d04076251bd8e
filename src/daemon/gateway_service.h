// LLBBridge: what frontends that run in the client ask of their build.
#pragma once

#include "build/engine.h"
#include "buildkit/gateway.grpc.pb.h"
#include "daemon/blocking_call.h"

namespace cachalot::daemon {

// What a frontend, or a client's policy, wants to know about a source. Errors are the bridge's.
absl::Status ResolveSourceMeta(llb::FrontendBridge& bridge, const moby::buildkit::v1::frontend::ResolveSourceMetaRequest& request,
                               moby::buildkit::v1::frontend::ResolveSourceMetaResponse* response);

// Calls carry the build's ref as metadata `buildkit-controlapi-buildid`; they wait for that build to start.
class GatewayService final : public moby::buildkit::v1::frontend::LLBBridge::CallbackService {
 public:
  // Both outlive the service. With `only`, all calls are that build's, whatever their metadata says.
  GatewayService(build::Engine& engine, const CallContext& calls, std::shared_ptr<build::GatewayBuild> only = nullptr)
      : engine_(engine), calls_(calls), only_(std::move(only)) {}

  using Unary = grpc::ServerUnaryReactor*;
  using Context = grpc::CallbackServerContext;
  Unary Ping(Context* context, const moby::buildkit::v1::frontend::PingRequest* request,
             moby::buildkit::v1::frontend::PongResponse* response) override;
  Unary Solve(Context* context, const moby::buildkit::v1::frontend::SolveRequest* request,
              moby::buildkit::v1::frontend::SolveResponse* response) override;
  Unary ResolveImageConfig(Context* context, const moby::buildkit::v1::frontend::ResolveImageConfigRequest* request,
                           moby::buildkit::v1::frontend::ResolveImageConfigResponse* response) override;
  Unary ResolveSourceMeta(Context* context, const moby::buildkit::v1::frontend::ResolveSourceMetaRequest* request,
                          moby::buildkit::v1::frontend::ResolveSourceMetaResponse* response) override;
  Unary ReadFile(Context* context, const moby::buildkit::v1::frontend::ReadFileRequest* request,
                 moby::buildkit::v1::frontend::ReadFileResponse* response) override;
  Unary ReadDir(Context* context, const moby::buildkit::v1::frontend::ReadDirRequest* request,
                moby::buildkit::v1::frontend::ReadDirResponse* response) override;
  Unary StatFile(Context* context, const moby::buildkit::v1::frontend::StatFileRequest* request,
                 moby::buildkit::v1::frontend::StatFileResponse* response) override;
  Unary Evaluate(Context* context, const moby::buildkit::v1::frontend::EvaluateRequest* request,
                 moby::buildkit::v1::frontend::EvaluateResponse* response) override;
  Unary Inputs(Context* context, const moby::buildkit::v1::frontend::InputsRequest* request,
               moby::buildkit::v1::frontend::InputsResponse* response) override;
  Unary Return(Context* context, const moby::buildkit::v1::frontend::ReturnRequest* request,
               moby::buildkit::v1::frontend::ReturnResponse* response) override;
  Unary NewContainer(Context* context, const moby::buildkit::v1::frontend::NewContainerRequest* request,
                     moby::buildkit::v1::frontend::NewContainerResponse* response) override;
  Unary ReleaseContainer(Context* context, const moby::buildkit::v1::frontend::ReleaseContainerRequest* request,
                         moby::buildkit::v1::frontend::ReleaseContainerResponse* response) override;
  Unary ReadFileContainer(Context* context, const moby::buildkit::v1::frontend::ReadFileRequest* request,
                          moby::buildkit::v1::frontend::ReadFileResponse* response) override;
  Unary ReadDirContainer(Context* context, const moby::buildkit::v1::frontend::ReadDirRequest* request,
                         moby::buildkit::v1::frontend::ReadDirResponse* response) override;
  Unary StatFileContainer(Context* context, const moby::buildkit::v1::frontend::StatFileRequest* request,
                          moby::buildkit::v1::frontend::StatFileResponse* response) override;
  using ExecMessage = moby::buildkit::v1::frontend::ExecMessage;
  grpc::ServerBidiReactor<ExecMessage, ExecMessage>* ExecProcess(Context* context) override;
  Unary Warn(Context* context, const moby::buildkit::v1::frontend::WarnRequest* request,
             moby::buildkit::v1::frontend::WarnResponse* response) override;

 private:
  // The build that the call's metadata names, by its id.
  absl::StatusOr<std::shared_ptr<build::GatewayBuild>> FindBuild(const std::string& id, const char* method, const CancelToken& cancel);
  // Runs `work(gateway)` for that build.
  template <typename Work>
  Unary WithGateway(Context* context, const char* method, Work work);

  build::Engine& engine_;
  const CallContext calls_;
  const std::shared_ptr<build::GatewayBuild> only_;
};

}  // namespace cachalot::daemon
