// The solver's logic. Every method runs in the mailbox; commands leave through the executor and return through the mailbox.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/guarded.h"
#include "solver/flight.h"
#include "solver/mailbox.h"
#include "solver/node.h"
#include "solver/solver.h"

namespace cachalot::solver {

// Kept by the solver, by its jobs and by every command that is out: whoever comes last may be a worker.
class Scheduler : public std::enable_shared_from_this<Scheduler> {
 public:
  Scheduler(Executor* executor, Clock* clock);

  // Waits until no command is out and what each brought back has been dealt with. Not for the executor's threads.
  void AwaitCommands();
  // Waits until nothing is held for closed jobs any more; a job that is open meanwhile ends the wait. Not for the executor's threads.
  void AwaitClosedJobs();

  void JobOpened();
  void JobCloses();  // Close follows

  Mailbox& mailbox() { return mailbox_; }

  void Solve(const JobPtr& job, const VertexPtr& vertex, int output, const CancelToken& cancel, Job::Callback done);
  // Ends every call of the job with CANCELLED and leaves its work.
  void Close(const JobPtr& job);

 private:
  struct SolveCall;
  // Results by output, of those that were asked for or produced.
  struct Outcome {
    std::map<int, ResultPtr> results;
    bool cached = false;
  };

  // -- jobs (scheduler_jobs.cc)
  NodePtr NodeFor(const JobPtr& job, const VertexPtr& vertex);
  void Announce(const JobPtr& job, const VertexPtr& root);
  void EndSolve(const std::shared_ptr<SolveCall>& call, absl::StatusOr<ResultPtr> result);
  // `needed`: what is under way was needed; otherwise its job's results came without it.
  void LeaveWork(const JobPtr& job, bool needed);
  void LeaveFlights(const JobPtr& job, bool needed);
  // Tells clients that nothing had to be done for `node` and for the ancestors that nobody needs because of that.
  void MarkCached(const NodePtr& node);
  void TellCached(const NodePtr& node);
  // The same for every node of which nothing was told: the job's results came without it, as when a run of another job is joined.
  void TellRest(const JobPtr& job);

  // -- keys (scheduler_keys.cc)
  void NeedKey(const NodePtr& node, StatusCallback done);
  void Describe(const NodePtr& node);
  void OnDescribed(const NodePtr& node, absl::StatusOr<CacheMap> cache_map);
  void OnPart(const NodePtr& node);
  void OnDefinition(const NodePtr& node);
  void WantContents(const NodePtr& node);
  void OnContentInputs(const NodePtr& node);
  void OnContents(const NodePtr& node);
  void SetKey(const NodePtr& node, CacheKeyPtr key);

  // -- what can be told before a key is known (scheduler_foresight.cc)
  // Call whenever more is known of `node` and its key still is not.
  void Foresee(const NodePtr& node);
  PartialKey KnownDefinition(const NodePtr& node);
  PartialKey KnownKey(const NodePtr& node);
  void WantInputs(const NodePtr& node);

  // -- results (scheduler_results.cc)
  void NeedResult(const NodePtr& node, int output, ResultCallback done);
  void OnResultKey(const NodePtr& node);
  void OnLoaded(const NodePtr& node, absl::StatusOr<Outcome> outcome);
  void RenewInputs(const NodePtr& node);
  void NeedInputs(const NodePtr& node);
  // Call through the mailbox: a deep graph must not become a deep stack.
  void NeedInput(const NodePtr& node, size_t index, StatusCallback done);
  void FlyOrJoin(const NodePtr& node);
  void Launch(const FlightPtr& flight, const NodePtr& node);
  void OnLanded(const FlightPtr& flight, absl::StatusOr<Outcome> outcome);
  void Deliver(const NodePtr& node, std::map<int, ResultPtr> results);
  std::string FlightKey(const NodePtr& node);

  // -- both
  void Fail(const NodePtr& node, absl::Status status);
  // Calls `done` once all of `count` callbacks made by the returned function were OK, or one was not.
  StatusCallback Gather(const NodePtr& node, size_t count, std::function<void()> done);
  NodePtr InputOf(const NodePtr& node, size_t index);
  static std::vector<int> OutputsOf(const Node& node) { return {node.outputs.begin(), node.outputs.end()}; }
  static bool ReadsContents(const CacheMap& cache_map);
  // Whether what `node` reads comes from a vertex that runs whatever the cache holds: then what was remembered of it does not count.
  static bool ReadsAnew(const Node& node);
  static std::shared_ptr<CacheStore> StoreOf(const NodePtr& node) { return node->job.lock()->store; }
  OpContext ContextOf(const NodePtr& node, const std::shared_ptr<Reporter>& reporter);

  // Runs `work` on the executor and hands what it returns to `then` in the mailbox.
  template <typename Work, typename Then>
  void Command(Work work, Then then) {
    ++activity_.Lock()->commands;
    executor_->Run([self = shared_from_this(), work = std::optional<Work>(std::move(work)), then = std::optional<Then>(std::move(then))]() mutable {
      auto value = (*work)();
      std::function<void()> message = [self = self.get(), then = std::move(then), value = std::move(value)]() mutable {
        (*then)(std::move(value));
        then.reset();
        --self->activity_.Lock()->commands;
        self->activity_.NotifyAll();
      };
      // Before the end is told: nothing is held for jobs but by messages, and what was moved may be a copy.
      work.reset();
      then.reset();
      self->mailbox_.Post(std::move(message));
    });
  }

  Executor* const executor_;
  Clock* const clock_;
  Mailbox mailbox_;
  std::map<std::string, FlightPtr> flights_;

  struct Activity {
    int open_jobs = 0, closing_jobs = 0, commands = 0;
    bool HoldsForClosedJobs() const { return open_jobs == 0 && (closing_jobs > 0 || commands > 0); }
  };
  Guarded<Activity> activity_;
};

}  // namespace cachalot::solver
