// Spans as text, for people and for the tools that show the traces of past builds.
#pragma once

#include <string>
#include <vector>

#include "trace/span.h"

namespace cachalot::trace {

// One JSON object per span, one after the other: the form in which Go's OpenTelemetry SDK prints its span stubs, and BuildKit's
// clients read the traces of build records ("application/vnd.buildkit.otlp.json.v0").
std::string ToJson(const std::vector<Span>& spans);

}  // namespace cachalot::trace
