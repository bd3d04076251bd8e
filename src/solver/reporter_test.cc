#include "solver/reporter.h"

#include <gtest/gtest.h>

namespace cachalot::solver {
namespace {

struct Sink final : ProgressSink {
  std::vector<VertexEvent> vertexes;
  void OnVertex(VertexEvent event) override { vertexes.push_back(std::move(event)); }
  void OnStatus(StatusEvent) override {}
  void OnLog(LogEvent) override {}
  void OnWarning(WarningEvent) override {}
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
