#include "solver/solver.h"

#include <deque>
#include <future>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/worker_pool.h"
#include "gtest/gtest.h"
#include "solver/fakes_testing.h"

namespace cachalot::solver {
namespace {

// Runs queued work on the test's thread, in an order drawn from a seed.
class SeededExecutor : public Executor {
 public:
  explicit SeededExecutor(unsigned seed) : random_(seed) {}
  void Run(std::function<void()> work) override { queue_.push_back(std::move(work)); }
  bool Step() {
    if (queue_.empty()) {
      return false;
    }
    std::swap(queue_[random_() % queue_.size()], queue_.back());
    auto work = std::move(queue_.back());
    queue_.pop_back();
    work();
    return true;
  }
  void Drain() {
    while (Step()) {
    }
  }

 private:
  std::mt19937 random_;
  std::vector<std::function<void()>> queue_;
};

class RecordingSink : public ProgressSink {
 public:
  void OnVertex(VertexEvent event) override { vertices.push_back(std::move(event)); }
  void OnStatus(StatusEvent event) override {}
  void OnLog(LogEvent event) override { logs.push_back(std::move(event)); }
  void OnWarning(WarningEvent event) override {}

  std::set<std::string> Cached() const {
    std::set<std::string> names;
    for (const auto& event : vertices) {
      if (event.completed && event.cached) names.insert(event.name);
    }
    return names;
  }
  std::vector<VertexEvent> vertices;
  std::vector<LogEvent> logs;
};

// Concatenates its inputs: "name(in,in)".
class TextOp : public Operation {
 public:
  TextOp(std::string name, int inputs, std::map<std::string, int>* runs) : name_(std::move(name)), runs_(runs) {
    map_.inputs.resize(inputs);
    map_.op_digest = name_;
  }
  TextOp& Content(int index) {
    map_.inputs[index].content = true;
    return *this;
  }
  TextOp& Ephemeral() {
    map_.ephemeral = true;
    return *this;
  }
  TextOp& OpDigest(std::string digest) {
    map_.op_digest = std::move(digest);
    return *this;
  }
  TextOp& Fails(absl::Status status) {
    failure_ = std::move(status);
    return *this;
  }
  TextOp& Yields(std::string text) {
    yields_ = std::move(text);
    return *this;
  }

  absl::StatusOr<CacheMap> DescribeCache(const OpContext&) override { return map_; }
  absl::StatusOr<std::string> ContentDigest(int, const ResultPtr& input, const OpContext&) override { return "content:" + TextOf(input); }
  absl::StatusOr<std::vector<ResultPtr>> Run(const std::vector<ResultPtr>& inputs, const OpContext& context) override {
    ++(*runs_)[name_];
    context.progress->Log(1, name_);
    if (context.cancel.cancelled()) return context.cancel.status();
    if (!failure_.ok()) return failure_;
    std::string text = yields_;
    if (text.empty()) {
      text = absl::StrCat(name_, "(", absl::StrJoin(inputs, ",", [](std::string* out, const ResultPtr& in) { *out += TextOf(in); }), ")");
    }
    return std::vector<ResultPtr>{std::make_shared<TextResult>(text)};
  }

 private:
  std::string name_;
  CacheMap map_;
  std::map<std::string, int>* runs_;
  absl::Status failure_;
  std::string yields_;
};

class SolverTest : public testing::TestWithParam<unsigned> {
 protected:
  using Inputs = std::vector<VertexPtr>;

  std::shared_ptr<Vertex> Make(const std::string& name, const Inputs& inputs, std::function<void(TextOp&)> adjust = {}) {
    auto op = std::make_shared<TextOp>(name, static_cast<int>(inputs.size()), &runs_);
    if (adjust) adjust(*op);
    auto vertex = std::make_shared<Vertex>();
    vertex->digest = "digest of " + name;
    vertex->name = name;
    for (const VertexPtr& input : inputs) vertex->inputs.push_back({input, 0});
    vertex->op = op;
    return vertex;
  }

  struct Call {
    std::optional<absl::StatusOr<ResultPtr>> result;
  };
  std::shared_ptr<Call> Start(Job& job, const VertexPtr& vertex, const CancelToken& cancel = {}) {
    auto call = std::make_shared<Call>();
    job.SolveAsync(vertex, 0, cancel, [call](absl::StatusOr<ResultPtr> result) {
      EXPECT_FALSE(call->result.has_value()) << "answered twice";
      call->result = std::move(result);
    });
    return call;
  }
  std::string Solve(const VertexPtr& vertex) {
    sink_ = std::make_shared<RecordingSink>();
    auto job = solver_->NewJob(sink_);
    auto call = Start(*job, vertex);
    executor_.Drain();
    if (!call->result) return "(unanswered)";
    return call->result->ok() ? TextOf(**call->result) : std::string(call->result->status().message());
  }

  std::map<std::string, int> runs_;
  MemoryStore store_;
  SeededExecutor executor_{GetParam()};
  std::unique_ptr<Solver> solver_ = Solver::Create(&store_, &executor_, &Clock::System());
  std::shared_ptr<RecordingSink> sink_;
};

TEST_P(SolverTest, RunsADiamondOnce) {
  auto a = Make("a", {});
  auto d = Make("d", {Make("b", {a}), Make("c", {a})});
  EXPECT_EQ(Solve(d), "d(b(a()),c(a()))");
  EXPECT_EQ(runs_, (std::map<std::string, int>{{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}}));
}

TEST_P(SolverTest, AHitNeedsNoAncestor) {
  auto make = [&] { return Make("c", {Make("b", {Make("a", {})})}); };
  Solve(make());
  runs_.clear();
  for (const char* name : {"a", "b"}) {
    std::erase_if(store_.results, [&](const auto& entry) { return TextOf(entry.second).starts_with(name); });
  }
  EXPECT_EQ(Solve(make()), "c(b(a()))");
  EXPECT_TRUE(runs_.empty());
  EXPECT_EQ(sink_->Cached(), (std::set<std::string>{"a", "b", "c"}));
}

TEST_P(SolverTest, IgnoringTheCacheRunsJustThatVertex) {
  auto make = [&](bool ignore) {
    auto b = Make("b", {Make("a", {})});
    b->ignore_cache = ignore;
    return Make("c", {b});
  };
  Solve(make(false));
  runs_.clear();
  auto b = Make("b", {Make("a", {})});
  b->ignore_cache = true;
  EXPECT_EQ(Solve(b), "b(a())");
  EXPECT_EQ(runs_, (std::map<std::string, int>{{"b", 1}}));
}

TEST_P(SolverTest, EqualContentHitsThoughTheSourceIsNew) {
  auto build = [&](const std::string& session, const std::string& text) {
    auto local = Make("local " + session, {}, [&](TextOp& op) { op.Ephemeral().Yields(text); });
    auto copy = Make("copy", {local}, [](TextOp& op) { op.Content(0); });
    copy->digest += session;
    return Make("run", {copy});
  };
  EXPECT_EQ(Solve(build("1", "x")), "run(copy(x))");
  EXPECT_EQ(Solve(build("2", "x")), "run(copy(x))");
  EXPECT_EQ(runs_["copy"], 1);
  EXPECT_EQ(runs_["run"], 1);
  EXPECT_EQ(Solve(build("3", "y")), "run(copy(y))");
  EXPECT_EQ(runs_["copy"], 2);
  EXPECT_TRUE(store_.contents.empty()) << "an ephemeral key must not be remembered";
}

TEST_P(SolverTest, KnownContentSparesTheInput) {
  auto build = [&](const std::string& tag) {
    auto stage = Make("stage " + tag, {}, [](TextOp& op) { op.Yields("same"); });
    return Make("copy", {stage}, [](TextOp& op) { op.Content(0); });
  };
  Solve(build("1"));
  Solve(build("2"));  // other definition, same content: a hit, which is remembered
  EXPECT_EQ(runs_["copy"], 1);
  std::erase_if(store_.results, [](const auto& entry) { return TextOf(entry.second) == "same"; });
  runs_.clear();
  EXPECT_EQ(Solve(build("2")), "copy(same)");
  EXPECT_TRUE(runs_.empty());
}

TEST_P(SolverTest, AJobHasAViewOfItsOwnOfWhatIsCached) {
  auto own = std::make_shared<MemoryStore>();
  auto top = Make("top", {Make("copy", {Make("stage", {})}, [](TextOp& op) { op.Content(0); })});
  const CacheKeyPtr stage = NewCacheKey("stage", {}, {}, false);
  const CacheKeyPtr by_definition = NewCacheKey("copy", {}, {{stage, 0, "", true, ""}}, false);
  const CacheKeyPtr copy = WithContents(*by_definition, false, {"known"});
  own->contents[by_definition->id] = {"known"};
  own->results[OutputKey(copy->id, 0)] = std::make_shared<TextResult>("imported");
  auto job = solver_->NewJob(std::make_shared<RecordingSink>(), own);
  auto call = Start(*job, top);
  executor_.Drain();
  ASSERT_TRUE(call->result.has_value());
  EXPECT_EQ(TextOf(**call->result), "top(imported)");
  EXPECT_EQ(runs_, (std::map<std::string, int>{{"top", 1}}));
  EXPECT_TRUE(store_.results.empty());
  const CacheKeyPtr key = job->KeyOf(top);
  ASSERT_NE(key, nullptr);
  EXPECT_TRUE(own->results.contains(OutputKey(key->id, 0)));
  EXPECT_EQ(key->inputs[0].vertex->id, copy->id);
  EXPECT_EQ(key->inputs[0].vertex->inputs[0].content, "known");
}

TEST_P(SolverTest, ContentThatCountsByKeyIsADefinition) {
  auto own = std::make_shared<MemoryStore>();
  auto copy = Make("copy", {Make("stage", {})}, [](TextOp& op) { op.Content(0); });
  const CacheKeyPtr by_definition = NewCacheKey("copy", {}, {{NewCacheKey("stage", {}, {}, false), 0, "", true, ""}}, false);
  own->contents[by_definition->id] = {""};
  own->results[OutputKey(by_definition->id, 0)] = std::make_shared<TextResult>("by definition");
  auto job = solver_->NewJob(std::make_shared<RecordingSink>(), own);
  auto call = Start(*job, copy);
  executor_.Drain();
  EXPECT_EQ(TextOf(**call->result), "by definition");
}

TEST_P(SolverTest, TwoJobsShareWorkInFlight) {
  auto sink1 = std::make_shared<RecordingSink>(), sink2 = std::make_shared<RecordingSink>();
  auto job1 = solver_->NewJob(sink1), job2 = solver_->NewJob(sink2);
  auto call1 = Start(*job1, Make("b", {Make("a", {})}));
  auto call2 = Start(*job2, Make("b", {Make("a", {})}));
  executor_.Drain();
  ASSERT_TRUE(call1->result && call2->result);
  EXPECT_EQ(TextOf(**call1->result), "b(a())");
  EXPECT_EQ(TextOf(**call2->result), "b(a())");
  EXPECT_EQ(runs_, (std::map<std::string, int>{{"a", 1}, {"b", 1}}));
}

TEST_P(SolverTest, AFailureNamesItsVertexAndIsToldOnce) {
  auto bad = Make("bad", {}, [](TextOp& op) { op.Fails(absl::UnknownError("boom")); });
  auto top = Make("top", {Make("l", {bad}), Make("r", {bad})});
  sink_ = std::make_shared<RecordingSink>();
  auto job = solver_->NewJob(sink_);
  auto call = Start(*job, top);
  executor_.Drain();
  ASSERT_TRUE(call->result.has_value());
  EXPECT_EQ(call->result->status().message(), "boom");
  EXPECT_EQ(call->result->status().GetPayload(kFailedVertexPayload), "digest of bad");
  EXPECT_EQ(runs_["bad"], 1);
  EXPECT_EQ(runs_.count("top"), 0);
}

TEST_P(SolverTest, ALeaderThatLeavesDoesNotFailTheOthers) {
  CancelSource cancel;
  auto job1 = solver_->NewJob(std::make_shared<RecordingSink>()), job2 = solver_->NewJob(std::make_shared<RecordingSink>());
  auto call1 = Start(*job1, Make("b", {Make("a", {})}), cancel.token());
  auto call2 = Start(*job2, Make("b", {Make("a", {})}));
  for (unsigned i = 0; i < GetParam() % 12; ++i) {
    executor_.Step();
  }
  const bool was_done = call1->result.has_value();
  cancel.Cancel();
  EXPECT_TRUE(call1->result.has_value());
  EXPECT_EQ(call1->result->ok(), was_done);
  executor_.Drain();
  ASSERT_TRUE(call2->result.has_value());
  EXPECT_EQ(TextOf(**call2->result), "b(a())");
}

TEST_P(SolverTest, WhatOnlyTheLeadersClientLacksFailsOnlyTheLeader) {
  absl::Status no_secret = absl::NotFoundError("secret s: not found");
  no_secret.SetPayload(kOnlyThisBuildPayload, absl::Cord());
  auto job1 = solver_->NewJob(std::make_shared<RecordingSink>()), job2 = solver_->NewJob(std::make_shared<RecordingSink>());
  auto job3 = solver_->NewJob(std::make_shared<RecordingSink>());
  const auto fails = [&](TextOp& op) { op.Fails(no_secret); };
  auto call1 = Start(*job1, Make("top", {Make("step", {}, fails)}));
  auto call2 = Start(*job2, Make("top", {Make("step", {}, fails)}));
  auto call3 = Start(*job3, Make("top", {Make("step", {})}));
  executor_.Drain();
  ASSERT_TRUE(call1->result && call2->result && call3->result);
  EXPECT_EQ(TextOf(**call3->result), "top(step())");
  for (const auto& call : {call1, call2}) {
    if (call->result->ok()) continue;  // served by the third's run, which came first
    EXPECT_EQ(call->result->status().message(), "secret s: not found");
  }
  EXPECT_LE(runs_["step"], 3);
}

TEST_P(SolverTest, AJobCanSolveAgainAfterBeingCancelled) {
  CancelSource cancel;
  auto job = solver_->NewJob(std::make_shared<RecordingSink>());
  auto vertex = Make("b", {Make("a", {})});
  auto call = Start(*job, vertex, cancel.token());
  executor_.Step();
  cancel.Cancel();
  auto again = Start(*job, vertex);
  executor_.Drain();
  ASSERT_TRUE(again->result.has_value());
  EXPECT_EQ(TextOf(**again->result), "b(a())");
}

TEST_P(SolverTest, DroppingAJobAnswersItsCalls) {
  auto job = solver_->NewJob(std::make_shared<RecordingSink>());
  auto call = Start(*job, Make("b", {Make("a", {})}));
  executor_.Step();
  job.reset();
  ASSERT_TRUE(call->result.has_value());
  EXPECT_TRUE(absl::IsCancelled(call->result->status()));
  executor_.Drain();
}

TEST_P(SolverTest, ADeepGraphIsNoDeepStack) {
  if (GetParam() > 1) {
    return;  // large: two orders are enough
  }
  VertexPtr top = Make("0", {});
  for (int i = 1; i < 20000; ++i) {
    top = Make(absl::StrCat(i), {top}, [](TextOp& op) { op.Yields("x"); });
  }
  EXPECT_EQ(Solve(top), "x");
}

// Random graphs, several jobs, some cancelled: every surviving call gets the right answer, and no key runs twice.
TEST_P(SolverTest, RandomGraphsComeOutRight) {
  std::mt19937 random(GetParam() * 7919 + 1);
  std::vector<std::vector<int>> shape;
  std::vector<std::string> expected;
  for (int i = 0; i < 30; ++i) {
    std::vector<int> inputs;
    for (int k = 0; i > 0 && k < static_cast<int>(random() % 4); ++k) inputs.push_back(static_cast<int>(random() % i));
    shape.push_back(inputs);
    expected.push_back(absl::StrCat(i, "(", absl::StrJoin(inputs, ",", [&](std::string* out, int in) { *out += expected[in]; }), ")"));
  }
  struct Run {
    std::unique_ptr<Job> job;
    CancelSource cancel;
    std::shared_ptr<Call> call;
    int target;
  };
  std::deque<Run> jobs;
  for (int j = 0; j < 4; ++j) {
    Inputs vertices;
    for (size_t i = 0; i < shape.size(); ++i) {
      Inputs inputs;
      for (int in : shape[i]) inputs.push_back(vertices[in]);
      vertices.push_back(Make(absl::StrCat(i), inputs, [&](TextOp& op) {
        for (size_t k = 0; k < inputs.size(); ++k) {
          if ((i + k) % 3 == 0) op.Content(static_cast<int>(k));
        }
      }));
    }
    Run& run = jobs.emplace_back();
    run.target = static_cast<int>(shape.size()) - 1 - j;
    run.job = solver_->NewJob(std::make_shared<RecordingSink>());
    run.call = Start(*run.job, vertices[run.target], run.cancel.token());
  }
  for (unsigned i = 0; i < random() % 60; ++i) executor_.Step();
  const bool done = jobs[0].call->result.has_value();
  jobs[0].cancel.Cancel();
  executor_.Drain();
  for (size_t j = 0; j < jobs.size(); ++j) {
    ASSERT_TRUE(jobs[j].call->result.has_value());
    if (j > 0 || done) {
      ASSERT_TRUE(jobs[j].call->result->ok()) << jobs[j].call->result->status();
      EXPECT_EQ(TextOf(**jobs[j].call->result), expected[jobs[j].target]);
    }
  }
  for (const auto& [name, count] : runs_) {
    EXPECT_LE(count, 2) << name;  // two only where the cancelled job had begun it
  }
}

class PoolExecutor : public Executor {
 public:
  void Run(std::function<void()> work) override { pool_.Run(std::move(work)); }

 private:
  WorkerPool pool_{"solver", 4};
};

// A build's last reference may be one that a callback holds, and the solver may go at that very moment.
TEST(SolverThreadsTest, AWorkerMayBeTheLastToHoldAJob) {
  MemoryStore store;
  std::map<std::string, int> runs;
  for (int round = 0; round < 300; ++round) {
    PoolExecutor executor;
    std::unique_ptr<Solver> solver = Solver::Create(&store, &executor, &Clock::System());
    auto vertex = std::make_shared<Vertex>();
    vertex->digest = absl::StrCat(round);
    vertex->op = std::make_shared<TextOp>(vertex->digest, 0, &runs);
    std::shared_ptr<Job> job = solver->NewJob(std::make_shared<RecordingSink>());
    auto done = std::make_shared<std::promise<bool>>();
    job->SolveAsync(vertex, 0, {}, [job, done](const absl::StatusOr<ResultPtr>& result) { done->set_value(result.ok()); });
    job.reset();
    EXPECT_TRUE(done->get_future().get());
    solver.reset();
  }
}

// Runs until it is told to end, whatever is cancelled.
class StubbornOp : public TextOp {
 public:
  using TextOp::TextOp;
  absl::StatusOr<std::vector<ResultPtr>> Run(const std::vector<ResultPtr>& inputs, const OpContext&) override {
    input = inputs.at(0);
    begun.set_value();
    end.get_future().wait();
    return std::vector<ResultPtr>{std::make_shared<TextResult>("late")};
  }
  std::promise<void> begun, end;
  std::weak_ptr<const Result> input;
};

TEST(SolverThreadsTest, NothingIsHeldOfJobsThatAreGone) {
  MemoryStore store;
  std::map<std::string, int> runs;
  PoolExecutor executor;
  const std::unique_ptr<Solver> solver = Solver::Create(&store, &executor, &Clock::System());
  for (int round = 0; round < 100; ++round) {
    auto source = std::make_shared<Vertex>(), vertex = std::make_shared<Vertex>();
    source->digest = absl::StrCat("source ", round);
    source->op = std::make_shared<TextOp>(TextOp(source->digest, 0, &runs).Ephemeral());
    vertex->digest = absl::StrCat("stubborn ", round);
    const auto op = std::make_shared<StubbornOp>(vertex->digest, 1, &runs);
    vertex->op = op;
    vertex->inputs.push_back({source, 0});
    std::unique_ptr<Job> job = solver->NewJob(std::make_shared<RecordingSink>());
    job->SolveAsync(vertex, 0, {}, [](const absl::StatusOr<ResultPtr>& result) { EXPECT_TRUE(absl::IsCancelled(result.status())); });
    op->begun.get_future().wait();
    job.reset();
    std::future<bool> held = std::async(std::launch::async, [&] {
      solver->AwaitClosedJobs();
      return !op->input.expired();
    });
    op->end.set_value();
    EXPECT_FALSE(held.get());
  }
  const std::unique_ptr<Job> open = solver->NewJob(std::make_shared<RecordingSink>());
  solver->AwaitClosedJobs();  // does not wait for what is open
}

INSTANTIATE_TEST_SUITE_P(Seeds, SolverTest, testing::Range(0u, 40u));

}  // namespace
}  // namespace cachalot::solver
