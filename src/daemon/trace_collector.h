// Sends spans to an OTLP collector, as OpenTelemetry's environment variables say.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trace/recorder.h"

namespace cachalot::daemon {

struct CollectorSettings {
  bool http = false;        // http/protobuf instead of gRPC
  std::string url;          // http: in full; gRPC: host:port
  bool tls = false;         // of gRPC
  std::string certificate;  // PEM file to trust, empty: the system's
  std::vector<std::pair<std::string, std::string>> headers;
  absl::Duration timeout = absl::Seconds(10);
};

// From OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_[TRACES_]{ENDPOINT,PROTOCOL,HEADERS,TIMEOUT,CERTIFICATE}; nothing when they
// name no collector. `lookup` gives a variable's value, empty when it is not set.
absl::StatusOr<std::optional<CollectorSettings>> ReadCollectorSettings(const std::function<std::string(const std::string&)>& lookup);

// Sends on a thread of its own. What cannot be sent is dropped; the first failure of a row is logged.
std::unique_ptr<trace::Exporter> NewCollectorClient(const CollectorSettings& settings);

}  // namespace cachalot::daemon
