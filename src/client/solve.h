// One build through a daemon's API: the session with what the client offers, the progress, the request and its end.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "build/engine.h"
#include "buildkit/control.pb.h"
#include "client/attach/attachables.h"
#include "client/connection.h"

namespace cachalot::client {

struct SolveOutcome {
  std::map<std::string, std::string> exporter_response;
};

// Runs `request` (its session is filled in here) and returns when the build, its progress and the session have ended. `on_progress`
// is called from another thread. Errors carry the wire's details (daemon/rpc_error.h).
absl::StatusOr<SolveOutcome> Solve(Connection& connection, moby::buildkit::v1::SolveRequest request, Attachables& attachables,
                                   const std::function<void(const build::ProgressBatch&)>& on_progress, const CancelToken& cancel);

}  // namespace cachalot::client
