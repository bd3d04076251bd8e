// The gateway API (frontends that run outside the daemon) between the protocol's messages and llb/frontend.h.
#pragma once

#include "absl/status/statusor.h"
#include "build/engine.h"
#include "buildkit/gateway.pb.h"

namespace cachalot::daemon {

absl::StatusOr<llb::SolveRequest> DecodeGatewaySolve(const moby::buildkit::v1::frontend::SolveRequest& message);
// Refs of the result are kept in `gateway`, under the ids that the message gives them. `with_definitions`: the client takes
// references with their definitions ("proto.refarray").
void EncodeResult(const llb::FrontendResult& result, bool with_definitions, build::GatewayBuild& gateway,
                  moby::buildkit::v1::frontend::Result* message);
// NOT_FOUND for an id that the gateway does not know.
absl::StatusOr<llb::FrontendResult> DecodeResult(const moby::buildkit::v1::frontend::Result& message, build::GatewayBuild& gateway);

absl::StatusOr<llb::ResolveOptions> DecodeResolve(const moby::buildkit::v1::frontend::ResolveImageConfigRequest& message);
absl::StatusOr<llb::ResolveOptions> DecodeResolve(const moby::buildkit::v1::frontend::ResolveSourceMetaRequest& message);
void EncodeSource(const llb::ResolvedSource& resolved, const moby::buildkit::v1::frontend::ResolveSourceMetaRequest& request,
                  moby::buildkit::v1::frontend::ResolveSourceMetaResponse* response);

void EncodeStat(const llb::FileStat& stat, fsutil::types::Stat* message);
void EncodeCaps(moby::buildkit::v1::frontend::PongResponse* message);

}  // namespace cachalot::daemon
