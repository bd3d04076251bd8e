#include "gtest/gtest.h"
#include "oci/go_json.h"
#include "trace/build_spans.h"
#include "trace/json.h"
#include "trace/recorder.h"

namespace cachalot::trace {
namespace {

constexpr char kTrace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr char kSpan[] = "00f067aa0ba902b7";

class FakeClock final : public Clock {
 public:
  absl::Time Now() override { return now; }
  absl::Time now = absl::FromUnixSeconds(1000);
};

Span SpanOf(const std::string& trace_id, const std::string& name = "") {
  Span span;
  span.context = {trace_id, kSpan};
  span.name = name;
  return span;
}

TEST(Traceparent, IsReadOrRefused) {
  const auto context = ParseTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  ASSERT_TRUE(context.has_value());
  EXPECT_EQ(context->trace_id, kTrace);
  EXPECT_EQ(context->span_id, kSpan);
  for (const char* text : {"", "00-x-y-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                           "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"}) {
    EXPECT_FALSE(ParseTraceparent(text).has_value()) << text;
  }
  EXPECT_TRUE(ParseTraceparent("00-" + NewContext().trace_id + "-" + NewSpanId() + "-01").has_value());
}

TEST(Recorder, KeepsWhatSomebodyListensTo) {
  FakeClock clock;
  Recorder recorder(clock);
  recorder.Add({SpanOf("a", "early")});
  recorder.Listen("a");
  recorder.Listen("a");
  recorder.Add({SpanOf("b"), SpanOf("a", "late")});
  clock.now += absl::Hours(1);
  recorder.Add({SpanOf("c")});
  EXPECT_EQ(recorder.Take("a").size(), 2u);
  EXPECT_EQ(recorder.Take("a").size(), 2u);
  EXPECT_TRUE(recorder.Take("a").empty());
  EXPECT_TRUE(recorder.Take("b").empty());
  EXPECT_EQ(recorder.Take("c").size(), 1u);
}

TEST(Recorder, IsBounded) {
  FakeClock clock;
  Recorder recorder(clock);
  for (int i = 0; i < 100; ++i) {
    clock.now += absl::Milliseconds(1);
    recorder.Add({SpanOf(std::to_string(i))});
  }
  EXPECT_TRUE(recorder.Take("0").empty());
  EXPECT_EQ(recorder.Take("99").size(), 1u);
  recorder.Listen("x");
  recorder.Add(std::vector<Span>(20'000, SpanOf("x")));
  EXPECT_EQ(recorder.Take("x").size(), 10'000u);
}

TEST(BuildSpans, AreMadeOfTheBuildAndItsVertices) {
  solver::VertexEvent ran, waiting;
  ran.digest = "sha256:1";
  ran.name = "[1/1] RUN false";
  ran.started = absl::FromUnixSeconds(2);
  ran.error = "exit code 1";
  const auto spans =
      SpansOfBuild({kTrace, kSpan}, "", {"ref", "dockerfile.v0", absl::FromUnixSeconds(1), absl::FromUnixSeconds(3), "failed"}, {ran, waiting});
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].status, StatusCode::kError);
  EXPECT_EQ(spans[1].parent_id, kSpan);
  EXPECT_EQ(spans[1].context.trace_id, kTrace);
  EXPECT_EQ(spans[1].name, "[1/1] RUN false");
  EXPECT_EQ(spans[1].end, absl::FromUnixSeconds(3));
  EXPECT_EQ(spans[1].status_message, "exit code 1");
}

TEST(Json, IsThatOfGosSpanStubs) {
  Span span = SpanOf(kTrace, "step");
  span.start = absl::FromUnixSeconds(1);
  span.end = absl::FromUnixMillis(1500);
  span.attributes = {{"vertex", "sha256:1"}, {"cached", true}, {"n", std::int64_t{3}}};
  span.events = {{"done", absl::FromUnixSeconds(1), {}}};
  span.resource = {{"service.name", "x"}};
  const std::string text = ToJson({span, span});
  const std::size_t second = text.find("\n{") + 1;
  const auto json = oci::ParseJson(text.substr(0, second), "span");
  ASSERT_TRUE(json.ok()) << json.status() << text;
  EXPECT_EQ((*json)["SpanContext"]["TraceID"], kTrace);
  EXPECT_EQ((*json)["Parent"]["SpanID"], "0000000000000000");
  EXPECT_EQ((*json)["EndTime"], "1970-01-01T00:00:01.5Z");
  EXPECT_EQ((*json)["Attributes"][0]["Value"]["Type"], "STRING");
  EXPECT_EQ((*json)["Attributes"][1]["Value"]["Value"], true);
  EXPECT_EQ((*json)["Attributes"][2]["Value"]["Type"], "INT64");
  EXPECT_TRUE((*json)["Links"].is_null());
  EXPECT_EQ((*json)["Events"][0]["Name"], "done");
  EXPECT_EQ((*json)["Status"]["Code"], "Unset");
  EXPECT_EQ((*json)["Resource"][0]["Key"], "service.name");
  EXPECT_TRUE(oci::ParseJson(text.substr(second), "span").ok());
}

}  // namespace
}  // namespace cachalot::trace
