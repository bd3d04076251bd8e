// What the gRPC servers of this process have in common.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace cachalot::daemon {

// Sizes of messages and headers, keepalive, threads.
void SetLimits(grpc::ServerBuilder& builder);
absl::StatusOr<std::unique_ptr<grpc::Server>> StartServer(grpc::ServerBuilder& builder);
// Answers what comes in over `connection`, which is a connected socket.
absl::Status ServeConnection(grpc::Server& server, UniqueFd connection);

}  // namespace cachalot::daemon
