#include "daemon/translate_trace.h"

#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "opentelemetry/trace.pb.h"

namespace cachalot::daemon {

namespace {

namespace otlp = opentelemetry::proto::trace::v1;
using WireAttributes = google::protobuf::RepeatedPtrField<otlp::KeyValue>;

constexpr std::size_t kTraceBytes = 16, kSpanBytes = 8;

trace::Value DecodeValue(const otlp::AnyValue& message) {
  switch (message.value_case()) {
    case otlp::AnyValue::kStringValue: return message.string_value();
    case otlp::AnyValue::kBoolValue: return message.bool_value();
    case otlp::AnyValue::kIntValue: return std::int64_t{message.int_value()};
    case otlp::AnyValue::kDoubleValue: return message.double_value();
    case otlp::AnyValue::kArrayValue: {
      std::vector<std::string> list;
      for (const auto& element : message.array_value().values()) list.push_back(element.string_value());
      return list;
    }
    case otlp::AnyValue::VALUE_NOT_SET: break;
  }
  return std::string();
}

trace::Attributes DecodeAttributes(const WireAttributes& messages) {
  trace::Attributes attributes;
  for (const auto& message : messages) attributes.emplace_back(message.key(), DecodeValue(message.value()));
  return attributes;
}

struct ValueEncoder {
  void operator()(const std::string& value) { message->set_string_value(value); }
  void operator()(bool value) { message->set_bool_value(value); }
  void operator()(std::int64_t value) { message->set_int_value(value); }
  void operator()(double value) { message->set_double_value(value); }
  void operator()(const std::vector<std::string>& values) {
    for (const std::string& value : values) message->mutable_array_value()->add_values()->set_string_value(value);
  }
  otlp::AnyValue* message;
};

void EncodeAttributes(const trace::Attributes& attributes, WireAttributes* messages) {
  for (const auto& [key, value] : attributes) {
    otlp::KeyValue* message = messages->Add();
    message->set_key(key);
    std::visit(ValueEncoder{message->mutable_value()}, value);
  }
}

trace::Context DecodeContext(const std::string& trace_id, const std::string& span_id) {
  return {absl::BytesToHexString(trace_id), absl::BytesToHexString(span_id)};
}

absl::Time FromNanos(std::uint64_t nanos) { return absl::FromUnixNanos(static_cast<std::int64_t>(nanos)); }
std::uint64_t ToNanos(absl::Time time) { return static_cast<std::uint64_t>(absl::ToUnixNanos(time)); }

trace::Span DecodeSpan(const otlp::Span& message) {
  trace::Span span;
  span.context = DecodeContext(message.trace_id(), message.span_id());
  span.parent_id = absl::BytesToHexString(message.parent_span_id());
  span.name = message.name();
  span.kind = static_cast<trace::Kind>(message.kind());
  span.start = FromNanos(message.start_time_unix_nano());
  span.end = FromNanos(message.end_time_unix_nano());
  span.attributes = DecodeAttributes(message.attributes());
  for (const auto& event : message.events()) {
    span.events.push_back({event.name(), FromNanos(event.time_unix_nano()), DecodeAttributes(event.attributes())});
  }
  for (const auto& link : message.links())
    span.links.push_back({DecodeContext(link.trace_id(), link.span_id()), DecodeAttributes(link.attributes())});
  span.status = static_cast<trace::StatusCode>(message.status().code());
  span.status_message = message.status().message();
  return span;
}

void EncodeSpan(const trace::Span& span, otlp::Span* message) {
  message->set_trace_id(absl::HexStringToBytes(span.context.trace_id));
  message->set_span_id(absl::HexStringToBytes(span.context.span_id));
  message->set_parent_span_id(absl::HexStringToBytes(span.parent_id));
  message->set_name(span.name);
  message->set_kind(static_cast<int>(span.kind));
  message->set_start_time_unix_nano(ToNanos(span.start));
  message->set_end_time_unix_nano(ToNanos(span.end));
  EncodeAttributes(span.attributes, message->mutable_attributes());
  for (const trace::Event& event : span.events) {
    otlp::Span::Event* encoded = message->add_events();
    encoded->set_name(event.name);
    encoded->set_time_unix_nano(ToNanos(event.time));
    EncodeAttributes(event.attributes, encoded->mutable_attributes());
  }
  for (const trace::Link& link : span.links) {
    otlp::Span::Link* encoded = message->add_links();
    encoded->set_trace_id(absl::HexStringToBytes(link.context.trace_id));
    encoded->set_span_id(absl::HexStringToBytes(link.context.span_id));
    EncodeAttributes(link.attributes, encoded->mutable_attributes());
  }
  if (span.status != trace::StatusCode::kUnset) {
    message->mutable_status()->set_code(static_cast<int>(span.status));
    message->mutable_status()->set_message(span.status_message);
  }
}

}  // namespace

absl::StatusOr<std::vector<trace::Span>> DecodeSpans(const opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest& message) {
  std::vector<trace::Span> spans;
  for (const std::string& bytes : message.resource_spans()) {
    otlp::ResourceSpans resource;
    if (!resource.ParseFromString(bytes)) return absl::InvalidArgumentError("spans that cannot be read");
    const trace::Attributes attributes = DecodeAttributes(resource.resource().attributes());
    for (const auto& scope : resource.scope_spans()) {
      for (const auto& encoded : scope.spans()) {
        if (encoded.trace_id().size() != kTraceBytes || encoded.span_id().size() != kSpanBytes) continue;
        trace::Span& span = spans.emplace_back(DecodeSpan(encoded));
        span.scope = scope.scope().name();
        span.scope_version = scope.scope().version();
        span.resource = attributes;
      }
    }
  }
  return spans;
}

opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest EncodeSpans(const std::vector<trace::Span>& spans) {
  opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest message;
  for (auto first = spans.begin(); first != spans.end();) {
    otlp::ResourceSpans resource;
    EncodeAttributes(first->resource, resource.mutable_resource()->mutable_attributes());
    otlp::ScopeSpans* scope = resource.add_scope_spans();
    scope->mutable_scope()->set_name(first->scope);
    scope->mutable_scope()->set_version(first->scope_version);
    auto next = first;
    for (; next != spans.end() && next->resource == first->resource && next->scope == first->scope; ++next) EncodeSpan(*next, scope->add_spans());
    message.add_resource_spans(resource.SerializeAsString());
    first = next;
  }
  return message;
}

}  // namespace cachalot::daemon
