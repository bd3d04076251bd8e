// Control: what buildctl and buildx ask of the daemon.
#pragma once

#include "build/engine.h"
#include "buildkit/control.grpc.pb.h"
#include "daemon/blocking_call.h"
#include "daemon/history.h"

namespace cachalot::daemon {

// Session keeps the synchronous interface: its stream is read and written by blocking threads of the session room.
template <typename Base>
using ControlSolving = moby::buildkit::v1::Control::WithCallbackMethod_Solve<moby::buildkit::v1::Control::WithCallbackMethod_Status<Base>>;
template <typename Base>
using ControlCache = moby::buildkit::v1::Control::WithCallbackMethod_DiskUsage<moby::buildkit::v1::Control::WithCallbackMethod_Prune<Base>>;
template <typename Base>
using ControlListing = moby::buildkit::v1::Control::WithCallbackMethod_ListWorkers<moby::buildkit::v1::Control::WithCallbackMethod_Info<Base>>;
template <typename Base>
using ControlHistory =
    moby::buildkit::v1::Control::WithCallbackMethod_ListenBuildHistory<moby::buildkit::v1::Control::WithCallbackMethod_UpdateBuildHistory<Base>>;
using ControlBase = ControlSolving<ControlCache<ControlListing<ControlHistory<moby::buildkit::v1::Control::Service>>>>;

class ControlService final : public ControlBase {
 public:
  // Everything outlives the service.
  ControlService(build::Engine& engine, History& history, const CallContext& calls) : engine_(engine), history_(history), calls_(calls) {}

  using Unary = grpc::ServerUnaryReactor*;
  using Context = grpc::CallbackServerContext;
  template <typename Message>
  using Writer = grpc::ServerWriteReactor<Message>*;

  Unary Solve(Context* context, const moby::buildkit::v1::SolveRequest* request, moby::buildkit::v1::SolveResponse* response) override;
  Writer<moby::buildkit::v1::StatusResponse> Status(Context* context, const moby::buildkit::v1::StatusRequest* request) override;
  Unary DiskUsage(Context* context, const moby::buildkit::v1::DiskUsageRequest* request, moby::buildkit::v1::DiskUsageResponse* response) override;
  Writer<moby::buildkit::v1::UsageRecord> Prune(Context* context, const moby::buildkit::v1::PruneRequest* request) override;
  Unary ListWorkers(Context* context, const moby::buildkit::v1::ListWorkersRequest* request,
                    moby::buildkit::v1::ListWorkersResponse* response) override;
  Unary Info(Context* context, const moby::buildkit::v1::InfoRequest* request, moby::buildkit::v1::InfoResponse* response) override;
  Writer<moby::buildkit::v1::BuildHistoryEvent> ListenBuildHistory(Context* context, const moby::buildkit::v1::BuildHistoryRequest* request) override;
  Unary UpdateBuildHistory(Context* context, const moby::buildkit::v1::UpdateBuildHistoryRequest* request,
                           moby::buildkit::v1::UpdateBuildHistoryResponse* response) override;

  using SessionStream = grpc::ServerReaderWriter<moby::buildkit::v1::BytesMessage, moby::buildkit::v1::BytesMessage>;
  grpc::Status Session(grpc::ServerContext* context, SessionStream* stream) override;

 private:
  build::Engine& engine_;
  History& history_;
  const CallContext calls_;
};

}  // namespace cachalot::daemon
