// Spans between OTLP's wire form and the trace room's.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "opentelemetry/trace_service.pb.h"
#include "trace/span.h"

namespace cachalot::daemon {

// Spans without proper ids are left out. INVALID_ARGUMENT when the message cannot be read.
absl::StatusOr<std::vector<trace::Span>> DecodeSpans(const opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest& message);
opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest EncodeSpans(const std::vector<trace::Span>& spans);

}  // namespace cachalot::daemon
