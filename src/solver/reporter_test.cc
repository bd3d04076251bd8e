#include "solver/reporter.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace cachalot::solver {
namespace {

struct Sink final : ProgressSink {
  std::vector<VertexEvent> vertexes;
  std::string log, statuses, warnings;
  void OnVertex(VertexEvent event) override { vertexes.push_back(std::move(event)); }
  void OnStatus(StatusEvent event) override { absl::StrAppend(&statuses, event.vertex, " ", event.id, " ", event.current, "\n"); }
  void OnLog(LogEvent event) override { absl::StrAppend(&log, event.vertex, " ", event.stream, " ", event.data); }
  void OnWarning(WarningEvent event) override { absl::StrAppend(&warnings, event.vertex, " ", event.brief, "\n"); }
};

TEST(Reporter, WhoLeavesHearsThatTheWorkWasCancelled) {
  Reporter reporter(&Clock::System());
  auto vertex = std::make_shared<Vertex>();
  vertex->digest = "sha256:a";
  const auto leaves = std::make_shared<Sink>(), stays = std::make_shared<Sink>();
  reporter.Listen(leaves, vertex);
  reporter.Listen(stays, vertex);
  reporter.Started();
  reporter.Leave(leaves.get(), /*needed=*/true);
  ASSERT_EQ(leaves->vertexes.size(), 2u);
  EXPECT_EQ(leaves->vertexes[1].error, "context canceled");
  EXPECT_TRUE(leaves->vertexes[1].completed.has_value());
  reporter.Completed(absl::OkStatus(), /*cached=*/false);
  EXPECT_EQ(leaves->vertexes.size(), 2u);
  ASSERT_EQ(stays->vertexes.size(), 2u);
  EXPECT_EQ(stays->vertexes[1].error, "");
}

TEST(Reporter, WhoComesLaterHearsWhatWasTold) {
  Reporter reporter(&Clock::System());
  auto early = std::make_shared<Vertex>(), late = std::make_shared<Vertex>();
  early->digest = "early";
  late->digest = "late";
  const auto first = std::make_shared<Sink>(), second = std::make_shared<Sink>(), third = std::make_shared<Sink>();
  reporter.Listen(first, early);
  reporter.Started();
  reporter.Log(2, "why\n");
  for (const std::int64_t current : {1, 2}) {
    StatusEvent status;
    status.id = "blob";
    status.current = current;
    reporter.Status(status);
  }
  WarningEvent warning;
  warning.brief = "look";
  reporter.Warning(warning);
  reporter.Listen(second, late);
  reporter.Log(1, "on\n");
  EXPECT_EQ(first->log, "early 2 why\nearly 1 on\n");
  EXPECT_EQ(second->log, "late 2 why\nlate 1 on\n");
  EXPECT_EQ(second->statuses, "late blob 2\n");
  EXPECT_EQ(second->warnings, "late look\n");
  // Of a log without end the end is kept.
  for (int i = 0; i < 3000; ++i) reporter.Log(1, std::string(1000, 'x') + std::to_string(i));
  reporter.Listen(third, late);
  EXPECT_LE(third->log.size(), 3u << 20);
  EXPECT_TRUE(absl::EndsWith(third->log, "x2999"));
  reporter.Completed(absl::OkStatus(), /*cached=*/false);
  const auto last = std::make_shared<Sink>();
  reporter.Listen(last, late);
  EXPECT_EQ(last->log + last->statuses + last->warnings, "");
}

TEST(Reporter, WhoComesWhenTheWorkIsDoneHearsThatItIsThere) {
  Reporter reporter(&Clock::System());
  reporter.Started();
  reporter.Completed(absl::OkStatus(), /*cached=*/false);
  const auto late = std::make_shared<Sink>();
  reporter.Listen(late, std::make_shared<Vertex>());
  ASSERT_EQ(late->vertexes.size(), 1u);
  EXPECT_TRUE(late->vertexes[0].cached);
  EXPECT_TRUE(late->vertexes[0].started.has_value() && late->vertexes[0].completed.has_value());
}

TEST(Reporter, WhatWasNotNeededCountsAsCached) {
  Reporter reporter(&Clock::System());
  const auto waits = std::make_shared<Sink>();
  reporter.Listen(waits, std::make_shared<Vertex>());
  reporter.Leave(waits.get(), /*needed=*/false);
  ASSERT_EQ(waits->vertexes.size(), 1u);
  EXPECT_TRUE(waits->vertexes[0].cached && waits->vertexes[0].completed.has_value());
}

TEST(Reporter, NothingIsCancelledThatHasNotBegun) {
  Reporter reporter(&Clock::System());
  const auto sink = std::make_shared<Sink>();
  reporter.Listen(sink, std::make_shared<Vertex>());
  reporter.Leave(sink.get(), /*needed=*/true);
  EXPECT_TRUE(sink->vertexes.empty());
}

}  // namespace
}  // namespace cachalot::solver
