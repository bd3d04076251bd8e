// Progress between the engine's plain events and the protocol's messages.
#pragma once

#include <vector>

#include "build/engine.h"
#include "buildkit/control.pb.h"
#include "buildkit/gateway.pb.h"

namespace cachalot::daemon {

// One or more messages: logs are split so that none grows much beyond a megabyte.
std::vector<moby::buildkit::v1::StatusResponse> EncodeProgress(const build::ProgressBatch& batch);
build::ProgressBatch DecodeProgress(const moby::buildkit::v1::StatusResponse& message);

solver::WarningEvent DecodeWarning(const moby::buildkit::v1::frontend::WarnRequest& message);

}  // namespace cachalot::daemon
