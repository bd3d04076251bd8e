// An engine of its own and a small root file system for tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>

#include "build/engine.h"
#include "cachalot/llb/file.h"
#include "cachalot/llb/run.h"
#include "cachalot/llb/state.h"
#include "os/file.h"
#include "os/mount.h"
#include "os/process.h"
#include "os/scratch_testing.h"

namespace cachalot::build {

using llb::State;

// The mount namespace that the daemon would live in, before any thread starts.
class PrivateMounts : public testing::Environment {
 public:
  void SetUp() override {
    if (!os::CanMount()) return;
    ASSERT_TRUE(os::EnterPrivateMountNamespace().ok());
  }
};
inline const auto* const kPrivateMounts = testing::AddGlobalTestEnvironment(new PrivateMounts);

class EngineTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!os::CanMount()) GTEST_SKIP() << "needs root for overlay mounts";
    if (!os::FindProgram("crun").ok()) GTEST_SKIP() << "needs crun";
    Open();
  }
  void Open() {
    engine_.reset();
    Config config;
    config.root = scratch_ / "root";
    config.gc = false;
    absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Open(config);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }

  // A root file system with busybox, as a graph.
  static State Busybox() {
    const absl::StatusOr<std::string> path = os::FindProgram("busybox");
    EXPECT_TRUE(path.ok()) << "busybox-static is missing";
    llb::FileActions files;
    files.Mkdir("/bin", 0755).Mkdir("/tmp", 01777).Mkfile("/bin/busybox", 0755, os::ReadFile(*path, 64 << 20).value());
    for (const char* name : {"sh", "cat", "sleep", "ls", "mkdir", "rm", "seq"}) files.Symlink("busybox", std::string("/bin/") + name);
    return State().File(files);
  }
  static State Shell(const State& state, const std::string& script) { return Run(state, script).Root(); }
  static llb::Exec Run(const State& state, const std::string& script, llb::RunOptions options = {}) {
    return state.Run(options.Args({"/bin/sh", "-c", script}));
  }

  absl::StatusOr<BuildResponse> Build(const State& state, CancelToken cancel = {}) {
    BuildRequest request;
    request.ref = "build" + std::to_string(++builds_);
    absl::StatusOr<llb::Definition> definition = state.Marshal();
    if (!definition.ok()) return definition.status();
    request.definition = *definition;
    return engine_->Build(request, cancel);
  }
  // What `path` holds in the tree of `state`, by way of a client's own frontend.
  absl::StatusOr<std::string> Read(const State& state, const std::string& path) {
    absl::StatusOr<std::string> data = absl::UnknownError("not read");
    const absl::Status status = WithGateway([&](GatewayBuild& gateway) -> absl::StatusOr<llb::FrontendResult> {
      absl::StatusOr<llb::FrontendResult> result = Solve(gateway, state);
      if (result.ok()) data = gateway.bridge().ReadFile(result->ref, path, 0, 0);
      return result;
    });
    return status.ok() || !data.ok() ? data : status;
  }
  static absl::StatusOr<llb::FrontendResult> Solve(GatewayBuild& gateway, const State& state, bool evaluate = false) {
    absl::StatusOr<llb::Definition> definition = state.Marshal();
    if (!definition.ok()) return definition.status();
    llb::SolveRequest solve;
    solve.definition = *definition;
    solve.evaluate = evaluate;
    return gateway.bridge().Solve(solve);
  }
  // A build whose frontend is `frontend`.
  absl::Status WithGateway(const std::function<absl::StatusOr<llb::FrontendResult>(GatewayBuild&)>& frontend) {
    BuildRequest request;
    request.ref = "gateway" + std::to_string(++builds_);
    std::future<absl::StatusOr<BuildResponse>> response = std::async(std::launch::async, [&] { return engine_->Build(request, {}); });
    absl::StatusOr<std::shared_ptr<GatewayBuild>> gateway = engine_->Gateway(request.ref, {});
    if (gateway.ok()) (*gateway)->Return(frontend(**gateway));
    absl::StatusOr<BuildResponse> ended = response.get();
    return gateway.ok() ? ended.status() : gateway.status();
  }
  ProgressBatch Progress() {
    ProgressBatch all;
    EXPECT_TRUE(engine_
                    ->Follow("build" + std::to_string(builds_),
                             [&](const ProgressBatch& batch) {
                               all.vertexes.insert(all.vertexes.end(), batch.vertexes.begin(), batch.vertexes.end());
                               all.logs.insert(all.logs.end(), batch.logs.begin(), batch.logs.end());
                               return absl::OkStatus();
                             },
                             {})
                    .ok());
    return all;
  }
  // Vertices that were not found in the cache. Computing a key may be an event of its own, before the one that counts.
  int Ran(const ProgressBatch& progress) {
    std::map<std::string, bool> cached;
    for (const solver::VertexEvent& event : progress.vertexes) {
      if (event.completed.has_value()) cached[event.digest] = event.cached;
    }
    return static_cast<int>(std::count_if(cached.begin(), cached.end(), [](const auto& vertex) { return !vertex.second; }));
  }

  os::Scratch scratch_;
  std::unique_ptr<Engine> engine_;
  int builds_ = 0;
};

}  // namespace cachalot::build
