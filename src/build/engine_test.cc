#include "build/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <map>

#include "build/errors.h"
#include "cachalot/llb/file.h"
#include "cachalot/llb/run.h"
#include "cachalot/llb/state.h"
#include "os/file.h"
#include "os/mount.h"
#include "os/process.h"
#include "os/scratch_testing.h"

namespace cachalot::build {
namespace {

using llb::State;

// The mount namespace that the daemon would live in, before any thread starts.
class PrivateMounts : public testing::Environment {
 public:
  void SetUp() override {
    if (!os::CanMount()) return;
    ASSERT_TRUE(os::EnterPrivateMountNamespace().ok());
  }
};
const auto* const kPrivateMounts = testing::AddGlobalTestEnvironment(new PrivateMounts);

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
    const absl::Status status = WithGateway([&](llb::FrontendBridge& bridge) -> absl::StatusOr<llb::FrontendResult> {
      llb::SolveRequest solve;
      absl::StatusOr<llb::Definition> definition = state.Marshal();
      if (!definition.ok()) return definition.status();
      solve.definition = *definition;
      absl::StatusOr<llb::FrontendResult> result = bridge.Solve(solve);
      if (result.ok()) data = bridge.ReadFile(result->ref, path, 0, 0);
      return result;
    });
    return status.ok() || !data.ok() ? data : status;
  }
  absl::Status WithGateway(const std::function<absl::StatusOr<llb::FrontendResult>(llb::FrontendBridge&)>& frontend) {
    BuildRequest request;
    request.ref = "gateway" + std::to_string(++builds_);
    std::future<absl::StatusOr<BuildResponse>> response = std::async(std::launch::async, [&] { return engine_->Build(request, {}); });
    absl::StatusOr<std::shared_ptr<GatewayBuild>> gateway = engine_->Gateway(request.ref, {});
    if (gateway.ok()) (*gateway)->Return(frontend((*gateway)->bridge()));
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
