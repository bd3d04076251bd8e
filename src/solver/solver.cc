#include "solver/solver.h"

#include <future>
#include <utility>

#include "base/release_graph.h"
#include "solver/keys.h"
#include "solver/scheduler.h"

namespace cachalot::solver {

namespace {

class SolverJob final : public Job {
 public:
  SolverJob(std::shared_ptr<Scheduler> scheduler, std::shared_ptr<ProgressSink> progress)
      : scheduler_(std::move(scheduler)), state_(std::make_shared<JobState>()) {
    state_->progress = std::move(progress);
  }

  ~SolverJob() override {
    scheduler_->mailbox().Post([scheduler = scheduler_.get(), state = state_] { scheduler->Close(state); });
  }

  void SolveAsync(const VertexPtr& vertex, int output, const CancelToken& cancel, Callback done) override {
    scheduler_->mailbox().Post([scheduler = scheduler_.get(), state = state_, vertex, output, cancel, done = std::move(done)]() mutable {
      scheduler->Solve(state, vertex, output, cancel, std::move(done));
    });
  }

  std::string KeyOf(const VertexPtr& vertex, int output) override {
    std::promise<std::string> key;
    scheduler_->mailbox().Post([&] {
      const auto it = state_->nodes.find(vertex->digest);
      key.set_value(it == state_->nodes.end() || it->second->key.empty() ? "" : OutputKey(it->second->key, output));
    });
    return key.get_future().get();
  }

 private:
  const std::shared_ptr<Scheduler> scheduler_;
  const JobPtr state_;
};

class SolverImpl final : public Solver {
 public:
  SolverImpl(CacheStore* store, Executor* executor, Clock* clock) : scheduler_(std::make_shared<Scheduler>(store, executor, clock)) {}

  ~SolverImpl() override { scheduler_->AwaitCommands(); }

  std::unique_ptr<Job> NewJob(std::shared_ptr<ProgressSink> progress) override {
    return std::make_unique<SolverJob>(scheduler_, std::move(progress));
  }

 private:
  const std::shared_ptr<Scheduler> scheduler_;
};

}  // namespace

Vertex::~Vertex() { ReleaseGraph(std::move(inputs)); }

absl::StatusOr<ResultPtr> Job::Solve(const VertexPtr& vertex, int output, const CancelToken& cancel) {
  // Shared with the callback: whoever sets the value may still be inside the promise when the waiter has it.
  auto promise = std::make_shared<std::promise<absl::StatusOr<ResultPtr>>>();
  std::future<absl::StatusOr<ResultPtr>> result = promise->get_future();
  SolveAsync(vertex, output, cancel, [promise](absl::StatusOr<ResultPtr> value) { promise->set_value(std::move(value)); });
  return result.get();
}

std::unique_ptr<Solver> Solver::Create(CacheStore* store, Executor* executor, Clock* clock) {
  return std::make_unique<SolverImpl>(store, executor, clock);
}

}  // namespace cachalot::solver
