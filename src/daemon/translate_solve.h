// Requests and records of the control API between the protocol's messages and the engine's plain values.
#pragma once

#include "absl/status/statusor.h"
#include "build/engine.h"
#include "buildkit/control.pb.h"
#include "buildkit/ops.pb.h"
#include "buildkit/worker.pb.h"
#include "oci/platform.h"

namespace cachalot::daemon {

// Fields of older clients are folded into today's. INVALID_ARGUMENT for a request that names one cache export twice.
absl::StatusOr<build::BuildRequest> DecodeSolve(const moby::buildkit::v1::SolveRequest& message);

void EncodeUsage(const snapshot::UsageRecord& record, moby::buildkit::v1::UsageRecord* message);
snapshot::PrunePolicy DecodePrune(const moby::buildkit::v1::PruneRequest& message);
void EncodeWorker(const build::WorkerInfo& worker, moby::buildkit::v1::types::WorkerRecord* message);
// What this program says it is: clients compare the version with features they know.
void EncodeVersion(moby::buildkit::v1::types::BuildkitVersion* message);

oci::Platform DecodePlatform(const pb::Platform& message);
void EncodePlatform(const oci::Platform& platform, pb::Platform* message);

}  // namespace cachalot::daemon
