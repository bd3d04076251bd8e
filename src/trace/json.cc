#include "trace/json.h"

#include <type_traits>

#include "oci/go_json.h"

namespace cachalot::trace {
namespace {

using oci::Json;

constexpr char kNoSpan[] = "0000000000000000";
constexpr char kNoTrace[] = "00000000000000000000000000000000";

template <typename T>
const char* TypeName() {
  if constexpr (std::is_same_v<T, std::string>) return "STRING";
  if constexpr (std::is_same_v<T, bool>) return "BOOL";
  if constexpr (std::is_same_v<T, std::int64_t>) return "INT64";
  if constexpr (std::is_same_v<T, double>) return "FLOAT64";
  return "STRINGSLICE";
}

// Go prints an empty list that was never made as null.
Json AttributesJson(const Attributes& attributes) {
  if (attributes.empty()) return nullptr;
  Json list = Json::array();
  for (const auto& [key, value] : attributes) {
    const Json typed = std::visit([](const auto& v) { return Json{{"Type", TypeName<std::decay_t<decltype(v)>>()}, {"Value", v}}; }, value);
    list.push_back(Json{{"Key", key}, {"Value", typed}});
  }
  return list;
}

Json ContextJson(const std::string& trace_id, const std::string& span_id, bool remote) {
  const bool none = span_id.empty();
  return Json{{"TraceID", none ? kNoTrace : trace_id},
              {"SpanID", none ? kNoSpan : span_id},
              {"TraceFlags", none ? "00" : "01"},
              {"TraceState", ""},
              {"Remote", remote}};
}

Json EventsJson(const std::vector<Event>& events) {
  if (events.empty()) return nullptr;
  Json list = Json::array();
  for (const Event& event : events) {
    list.push_back(Json{{"Name", event.name},
                        {"Attributes", AttributesJson(event.attributes)},
                        {"DroppedAttributeCount", 0},
                        {"Time", oci::FormatGoTime(event.time)}});
  }
  return list;
}

Json LinksJson(const std::vector<Link>& links) {
  if (links.empty()) return nullptr;
  Json list = Json::array();
  for (const Link& link : links) {
    list.push_back(Json{{"SpanContext", ContextJson(link.context.trace_id, link.context.span_id, false)},
                        {"Attributes", AttributesJson(link.attributes)},
                        {"DroppedAttributeCount", 0}});
  }
  return list;
}

const char* StatusName(StatusCode code) {
  switch (code) {
    case StatusCode::kUnset: return "Unset";
    case StatusCode::kOk: return "Ok";
    case StatusCode::kError: return "Error";
  }
  return "Unset";
}

Json SpanJson(const Span& span) {
  const Json scope = {{"Name", span.scope}, {"Version", span.scope_version}, {"SchemaURL", ""}, {"Attributes", nullptr}};
  return Json{{"Name", span.name},
              {"SpanContext", ContextJson(span.context.trace_id, span.context.span_id, false)},
              {"Parent", ContextJson(span.context.trace_id, span.parent_id, false)},
              {"SpanKind", static_cast<int>(span.kind)},
              {"StartTime", oci::FormatGoTime(span.start)},
              {"EndTime", oci::FormatGoTime(span.end)},
              {"Attributes", AttributesJson(span.attributes)},
              {"Events", EventsJson(span.events)},
              {"Links", LinksJson(span.links)},
              {"Status", Json{{"Code", StatusName(span.status)}, {"Description", span.status_message}}},
              {"DroppedAttributes", 0},
              {"DroppedEvents", 0},
              {"DroppedLinks", 0},
              {"ChildSpanCount", 0},
              {"Resource", AttributesJson(span.resource)},
              {"InstrumentationScope", scope},
              {"InstrumentationLibrary", scope}};
}

}  // namespace

std::string ToJson(const std::vector<Span>& spans) {
  std::string text;
  for (const Span& span : spans) {
    text += oci::DumpGo(SpanJson(span), 2);
    text += '\n';
  }
  return text;
}

}  // namespace cachalot::trace
