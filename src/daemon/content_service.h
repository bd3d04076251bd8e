// containerd's content service over the store's blobs, read only: clients read the logs, traces and attestations of past builds
// through it. All namespaces that a client may name hold the same blobs.
#pragma once

#include "build/engine.h"
#include "containerd/content.grpc.pb.h"
#include "daemon/blocking_call.h"

namespace cachalot::daemon {

class ContentService final : public containerd::services::content::v1::Content::CallbackService {
 public:
  // Both outlive the service.
  ContentService(build::Engine& engine, const CallContext& calls) : engine_(engine), calls_(calls) {}

  grpc::ServerUnaryReactor* Info(grpc::CallbackServerContext* context, const containerd::services::content::v1::InfoRequest* request,
                                 containerd::services::content::v1::InfoResponse* response) override;
  grpc::ServerWriteReactor<containerd::services::content::v1::ListContentResponse>* List(
      grpc::CallbackServerContext* context, const containerd::services::content::v1::ListContentRequest* request) override;
  grpc::ServerWriteReactor<containerd::services::content::v1::ReadContentResponse>* Read(
      grpc::CallbackServerContext* context, const containerd::services::content::v1::ReadContentRequest* request) override;

 private:
  build::Engine& engine_;
  const CallContext calls_;
};

}  // namespace cachalot::daemon
