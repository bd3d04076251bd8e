// Why a daemon behind TCP cannot be talked to: gRPC's library keeps that to itself.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "client/connection.h"

namespace cachalot::client {

// Connects to `host_port` once more, as `options` say, and tells what fails: the network, the daemon's certificate, or the client's. OK when
// nothing does. Takes a few seconds at most.
absl::Status FindTlsReason(const std::string& host_port, const ConnectOptions& options);

}  // namespace cachalot::client
