#include <grpcpp/grpcpp.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "base/guarded.h"
#include "daemon/trace_collector.h"
#include "daemon/trace_service.h"
#include "daemon/translate_trace.h"
#include "gtest/gtest.h"
#include "opentelemetry/trace.pb.h"

namespace cachalot::daemon {
namespace {

using Variables = std::map<std::string, std::string>;

absl::StatusOr<std::optional<CollectorSettings>> Read(const Variables& variables) {
  return ReadCollectorSettings([&](const std::string& name) {
    const auto found = variables.find(name);
    return found == variables.end() ? "" : found->second;
  });
}

TEST(CollectorSettings, NamesNoneByDefault) {
  EXPECT_FALSE(Read({}).value().has_value());
  EXPECT_FALSE(Read({{"OTEL_TRACES_EXPORTER", "none"}, {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"}}).value().has_value());
  EXPECT_EQ(Read({{"OTEL_TRACES_EXPORTER", "zipkin"}}).status().message(), "unsupported opentelemetry exporter zipkin");
}

TEST(CollectorSettings, GrpcIsTheDefault) {
  const auto plain = Read({{"OTEL_TRACES_EXPORTER", "otlp"}}).value().value();
  EXPECT_EQ(plain.url, "localhost:4317");
  EXPECT_FALSE(plain.http || plain.tls);
  const auto settings = Read({{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:9/"},
                              {"OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20x, b = c"},
                              {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"}})
                            .value()
                            .value();
  EXPECT_EQ(settings.url, "collector:9");
  EXPECT_TRUE(settings.tls);
  EXPECT_EQ(settings.timeout, absl::Milliseconds(250));
  ASSERT_EQ(settings.headers.size(), 2u);
  EXPECT_EQ(settings.headers[0].second, "Bearer x");
  EXPECT_EQ(settings.headers[1], (std::pair<std::string, std::string>("b", "c")));
}

TEST(CollectorSettings, HttpGoesToThePathOfTraces) {
  const Variables http = {{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"}, {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1/base/"}};
  EXPECT_EQ(Read(http).value()->url, "http://c:1/base/v1/traces");
  Variables in_full = http;
  in_full["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = "http://c:2/x";
  EXPECT_EQ(Read(in_full).value()->url, "http://c:2/x");
  EXPECT_FALSE(Read({{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"}, {"OTEL_EXPORTER_OTLP_ENDPOINT", "x"}}).ok());
}

// Stands for whatever a collector does with spans.
class Arrivals final : public trace::Exporter {
 public:
  void Export(const std::vector<trace::Span>& spans) override {
    for (const trace::Span& span : spans) names.Lock()->push_back(span.name);
    names.NotifyAll();
  }
  Guarded<std::vector<std::string>> names;
};

TEST(TraceCollector, SendsToTheServiceThatTakesTheSpansOfClients) {
  Arrivals arrivals;
  trace::Recorder recorder(Clock::System(), &arrivals);
  TraceService service(recorder);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  CollectorSettings settings;
  settings.url = absl::StrCat("127.0.0.1:", port);
  trace::Span span;
  span.context = trace::NewContext();
  span.name = "sent";
  {
    const auto client = NewCollectorClient(settings);
    client->Export({span});
    arrivals.names.Lock().Wait([](const auto& names) { return !names.empty(); });
  }
  EXPECT_EQ(*arrivals.names.Lock(), std::vector<std::string>{"sent"});
  EXPECT_EQ(recorder.Take(span.context.trace_id).size(), 1u);
}

TEST(TranslateTrace, RoundTrips) {
  trace::Span span;
  span.context = {"4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"};
  span.parent_id = "00f067aa0ba902b8";
  span.name = "step";
  span.start = absl::FromUnixSeconds(5);
  span.end = absl::FromUnixMicros(6'000'001);
  span.attributes = {{"a", "text"}, {"b", true}, {"c", std::int64_t{-3}}, {"d", 1.5}, {"e", std::vector<std::string>{"x", "y"}}};
  span.events = {{"event", absl::FromUnixSeconds(5), {{"k", "v"}}}};
  span.links = {{{"4bf92f3577b34da6a3ce929d0e0e4737", "00f067aa0ba902b9"}, {}}};
  span.status = trace::StatusCode::kError;
  span.status_message = "failed";
  span.scope = "scope";
  span.resource = {{"service.name", "x"}};
  const auto decoded = DecodeSpans(EncodeSpans({span, span}));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  ASSERT_EQ(decoded->size(), 2u);
  const trace::Span& again = (*decoded)[1];
  EXPECT_EQ(again.context.trace_id, span.context.trace_id);
  EXPECT_EQ(again.parent_id, span.parent_id);
  EXPECT_EQ(again.end, span.end);
  EXPECT_EQ(again.attributes, span.attributes);
  EXPECT_EQ(again.events.at(0).attributes, span.events[0].attributes);
  EXPECT_EQ(again.links.at(0).context.span_id, "00f067aa0ba902b9");
  EXPECT_EQ(again.status, trace::StatusCode::kError);
  EXPECT_EQ(again.scope, "scope");
  EXPECT_EQ(again.resource, span.resource);
}

TEST(TranslateTrace, LeavesOutSpansWithoutIds) {
  opentelemetry::proto::trace::v1::ResourceSpans resource;
  resource.add_scope_spans()->add_spans()->set_name("x");
  opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest request;
  request.add_resource_spans(resource.SerializeAsString());
  EXPECT_TRUE(DecodeSpans(request).value().empty());
  request.add_resource_spans("\xff");
  EXPECT_FALSE(DecodeSpans(request).ok());
}

}  // namespace
}  // namespace cachalot::daemon
