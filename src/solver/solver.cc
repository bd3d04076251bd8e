#include "solver/solver.h"

#include <future>
#include <utility>

#include "base/release_graph.h"
#include "solver/scheduler.h"

namespace cachalot::solver {

namespace {

class SolverJob final : public Job {
 public:
  SolverJob(std::shared_ptr<Scheduler> scheduler, std::shared_ptr<ProgressSink> progress, std::shared_ptr<CacheStore> store)
      : scheduler_(std::move(scheduler)), state_(std::make_shared<JobState>()) {
    state_->progress = std::move(progress);
    state_->store = std::move(store);
    scheduler_->JobOpened();
  }

  ~SolverJob() override {
    scheduler_->JobCloses();
    scheduler_->mailbox().Post([scheduler = scheduler_.get(), state = state_] { scheduler->Close(state); });
  }

  void SolveAsync(const VertexPtr& vertex, int output, const CancelToken& cancel, Callback done) override {
    scheduler_->mailbox().Post([scheduler = scheduler_.get(), state = state_, vertex, output, cancel, done = std::move(done)]() mutable {
      scheduler->Solve(state, vertex, output, cancel, std::move(done));
    });
  }

  CacheKeyPtr KeyOf(const VertexPtr& vertex) override {
    // Shared: whoever sets the value may still be inside the promise when the waiter has it.
    auto key = std::make_shared<std::promise<CacheKeyPtr>>();
    std::future<CacheKeyPtr> future = key->get_future();
    scheduler_->mailbox().Post([key, state = state_, digest = vertex->digest] {
      const auto it = state->nodes.find(digest);
      key->set_value(it == state->nodes.end() ? nullptr : it->second->key);
    });
    return future.get();
  }

 private:
  const std::shared_ptr<Scheduler> scheduler_;
  const JobPtr state_;
};

class SolverImpl final : public Solver {
 public:
  SolverImpl(CacheStore* store, Executor* executor, Clock* clock)
      : store_(std::shared_ptr<CacheStore>(), store), scheduler_(std::make_shared<Scheduler>(executor, clock)) {}

  ~SolverImpl() override { scheduler_->AwaitCommands(); }

  void AwaitClosedJobs() override { scheduler_->AwaitClosedJobs(); }

  std::unique_ptr<Job> NewJob(std::shared_ptr<ProgressSink> progress, std::shared_ptr<CacheStore> store) override {
    return std::make_unique<SolverJob>(scheduler_, std::move(progress), store == nullptr ? store_ : std::move(store));
  }

 private:
  const std::shared_ptr<CacheStore> store_;  // not owned
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
