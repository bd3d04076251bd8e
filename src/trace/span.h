// Spans as OpenTelemetry has them: what happened from when to when, as part of what.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cachalot::trace {

// Ids are lower-case hex: 32 digits for traces, 16 for spans.
struct Context {
  std::string trace_id, span_id;
};

// From a W3C "traceparent" header; nothing when it is malformed.
std::optional<Context> ParseTraceparent(absl::string_view header);
// The context of a span that begins a trace of its own.
Context NewContext();
std::string NewSpanId();

using Value = std::variant<std::string, bool, std::int64_t, double, std::vector<std::string>>;
using Attributes = std::vector<std::pair<std::string, Value>>;

struct Event {
  std::string name;
  absl::Time time;
  Attributes attributes;
};
struct Link {
  Context context;
  Attributes attributes;
};

enum class Kind { kUnspecified = 0, kInternal = 1, kServer = 2, kClient = 3, kProducer = 4, kConsumer = 5 };
enum class StatusCode { kUnset = 0, kOk = 1, kError = 2 };

struct Span {
  Context context;
  std::string parent_id;  // empty: it begins its trace
  std::string name;
  Kind kind = Kind::kInternal;
  absl::Time start, end;
  Attributes attributes;
  std::vector<Event> events;
  std::vector<Link> links;
  StatusCode status = StatusCode::kUnset;
  std::string status_message;
  std::string scope, scope_version;  // of the instrumentation
  Attributes resource;               // of the process
};

}  // namespace cachalot::trace
