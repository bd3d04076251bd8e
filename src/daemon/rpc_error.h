// Errors on the wire: a gRPC status whose `grpc-status-details-bin` holds a google.rpc.Status with BuildKit's typed details, so
// that clients print the failed Dockerfile lines and exit with the right code.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "buildkit/errdefs.pb.h"
#include "google/rpc/status.pb.h"

namespace cachalot::daemon {

// A status that came over the wire keeps its details (a serialized google.rpc.Status) under this payload.
inline constexpr char kWireDetailsPayload[] = "cachalot/wire-details";

// The error with its details: what the wire brought, then build/errors.h's. OK becomes code 0.
google::rpc::Status EncodeError(const absl::Status& error);
absl::Status DecodeError(const google::rpc::Status& message);
// The same for failures of builds, as ToBuildFailure has it.
google::rpc::Status EncodeBuildFailure(const absl::Status& error);

grpc::Status ToGrpcStatus(const absl::Status& error);
// As ToGrpcStatus, for failures of builds: clients show any code but UNKNOWN in front of the message, where it tells a user
// nothing, so only the codes that they act on are kept.
grpc::Status ToBuildFailure(const absl::Status& error);
absl::Status FromGrpcStatus(const grpc::Status& status);

// The details of an error that came over the wire, for reports.
struct WireDetails {
  std::string vertex;                    // digest, or empty
  std::vector<errdefs::Source> sources;  // outermost first
  int exit_code = 0;                     // of the failed process, 0: none
};
WireDetails WireDetailsOf(const absl::Status& error);

}  // namespace cachalot::daemon
