#include "build/engine.h"

#include <gtest/gtest.h>

#include <map>

#include "build/engine_testing.h"
#include "build/errors.h"

namespace cachalot::build {
namespace {

TEST_F(EngineTest, FilesAreMadeCopiedAndRead) {
  const State source = State().File(llb::FileActions().Mkdir("/d", 0755).Mkfile("/d/a", 0640, "hello"));
  const State target = State().File(llb::FileActions().Copy(source, "/d/a", "/b"));
  EXPECT_EQ(Read(target, "/b").value_or("?"), "hello");
  EXPECT_EQ(Read(target, "/none").status().message(), "open /none: no such file or directory");
  EXPECT_TRUE(absl::IsNotFound(Read(target, "/none").status()));
}

TEST_F(EngineTest, StepsRunAndAreCachedAcrossRestarts) {
  const State built = Shell(Shell(Busybox(), "echo one > /one; echo printed"), "cat /one > /two");
  ASSERT_TRUE(Build(built).ok());
  const ProgressBatch first = Progress();
  std::string log;
  for (const solver::LogEvent& event : first.logs) log += event.data;
  EXPECT_EQ(log, "printed\n");
  EXPECT_EQ(Ran(first), 3);
  EXPECT_EQ(Read(built, "/two").value_or("?"), "one\n");
  Open();
  ASSERT_TRUE(Build(built).ok());
  EXPECT_EQ(Ran(Progress()), 0);
}

TEST_F(EngineTest, WhatContinuesAStepThatIgnoresItsCacheRunsAnew) {
  const State fresh = State().File(llb::FileActions().Mkfile("/a", 0644, "a"), llb::Constraints().IgnoreCache(true));
  const State continued = fresh.File(llb::FileActions().Mkdir("/w", 0755));
  const State read = State().File(llb::FileActions().Copy(continued, "/a", "/b"));
  ASSERT_TRUE(Build(read).ok());
  EXPECT_EQ(Ran(Progress()), 3);
  ASSERT_TRUE(Build(read).ok());
  EXPECT_EQ(Ran(Progress()), 2) << "who reads the same again does not run";
  ASSERT_TRUE(Build(continued).ok());
  EXPECT_EQ(Ran(Progress()), 2);
}

TEST_F(EngineTest, FailureTellsWhatFailed) {
  const absl::Status failure = Build(Shell(Busybox(), "echo why >&2; exit 7")).status();
  EXPECT_EQ(failure.message(), "process \"/bin/sh -c echo why >&2; exit 7\" did not complete successfully: exit code: 7");
  const ErrorDetails details = DetailsOf(failure);
  EXPECT_EQ(details.exit_code, 7);
  EXPECT_FALSE(details.vertex.empty());
  EXPECT_FALSE(details.op.empty());
}

TEST_F(EngineTest, MountsOfAStep) {
  const State base = Busybox();
  const State input = State().File(llb::FileActions().Mkdir("/sub", 0755).Mkfile("/sub/f", 0644, "from input"));
  llb::RunOptions options;
  options.AddMount("/in", input, {.readonly = true, .selector = "/sub"});
  options.AddMount("/cache", State(), {.cache = llb::CacheMount{"my-cache", llb::CacheSharing::kShared}});
  options.AddMount("/scratch", State(), {.tmpfs_size = 1 << 20});
  options.AddMount("/out", State());
  const llb::Exec exec = Run(base, "cat /in/f > /out/copy; echo kept > /cache/k; echo x > /scratch/x", options);
  EXPECT_EQ(Read(*exec.GetMount("/out"), "/copy").value_or("?"), "from input");
  EXPECT_FALSE(Read(exec.Root(), "/cache/k").ok());
  llb::RunOptions again;
  again.AddMount("/cache", State(), {.cache = llb::CacheMount{"my-cache", llb::CacheSharing::kShared}});
  EXPECT_EQ(Read(Run(base, "cat /cache/k > /seen", again).Root(), "/seen").value_or("?"), "kept\n");
}

TEST_F(EngineTest, CancellationEndsASleepingStep) {
  CancelSource cancel;
  const State sleeping = Shell(Busybox(), "echo started; sleep 1000");
  std::future<absl::StatusOr<BuildResponse>> response = std::async(std::launch::async, [&] { return Build(sleeping, cancel.token()); });
  // Stops following at the first line of output.
  const absl::Status followed =
      engine_->Follow("build1", [](const ProgressBatch& batch) { return batch.logs.empty() ? absl::OkStatus() : absl::AbortedError("seen"); }, {});
  EXPECT_TRUE(absl::IsAborted(followed)) << followed;
  cancel.Cancel();
  EXPECT_TRUE(absl::IsCancelled(response.get().status()));
}

TEST_F(EngineTest, EntitlementsAreNeeded) {
  llb::RunOptions options;
  options.Network(llb::NetMode::kHost);
  EXPECT_EQ(Build(Run(Busybox(), "true", options).Root()).status().message(), "failed to load LLB: network.host is not allowed");
}

TEST_F(EngineTest, LongChainsOfFileOperations) {
  State state;
  for (int i = 0; i < 200; ++i) state = state.File(llb::FileActions().Mkfile("/f" + std::to_string(i), 0644, std::to_string(i)));
  EXPECT_EQ(Read(state, "/f0").value_or("?"), "0");
  EXPECT_EQ(Read(state, "/f199").value_or("?"), "199");
}

TEST_F(EngineTest, OneOwnerAtATime) {
  Config config;
  config.root = scratch_ / "root";
  const absl::Status second = Engine::Open(config).status();
  EXPECT_TRUE(absl::IsUnavailable(second)) << second;
}

TEST_F(EngineTest, UnknownNamesAreErrors) {
  EXPECT_TRUE(absl::IsNotFound(engine_->Gateway("nobody", CancelToken()).status()));
  BuildRequest request;
  request.ref = "x";
  request.frontend = "nonsense.v7";
  EXPECT_EQ(engine_->Build(request, {}).status().message(), "invalid frontend: nonsense.v7");
}

}  // namespace
}  // namespace cachalot::build
