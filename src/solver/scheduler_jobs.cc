// Jobs: starting and ending solve calls, leaving work, and what clients see of cached vertices.
#include <algorithm>
#include <future>

#include "absl/strings/cord.h"
#include "solver/scheduler.h"

namespace cachalot::solver {

struct Scheduler::SolveCall {
  JobPtr job;
  Job::Callback done;
  bool ended = false;
  CancelToken::Registration cancel;
};

Scheduler::Scheduler(Executor* executor, Clock* clock) : executor_(executor), clock_(clock) {}

void Scheduler::AwaitCommands() {
  activity_.Lock().Wait([](const Activity& activity) { return activity.commands == 0; });
}

void Scheduler::AwaitClosedJobs() {
  bool holds = true;
  while (holds) {
    activity_.Lock().Wait([](const Activity& activity) { return !activity.HoldsForClosedJobs(); });
    // Messages that were posted before still hold their nodes.
    auto delivered = std::make_shared<std::promise<void>>();
    std::future<void> delivery = delivered->get_future();
    mailbox_.Post([delivered] { delivered->set_value(); });
    delivery.wait();
    holds = activity_.Lock()->HoldsForClosedJobs();
  }
}

void Scheduler::JobOpened() {
  ++activity_.Lock()->open_jobs;
  activity_.NotifyAll();
}

void Scheduler::JobCloses() {
  auto activity = activity_.Lock();
  --activity->open_jobs;
  ++activity->closing_jobs;
}

void Scheduler::Solve(const JobPtr& job, const VertexPtr& vertex, int output, const CancelToken& cancel, Job::Callback done) {
  auto call = std::make_shared<SolveCall>();
  call->job = job;
  call->done = std::move(done);
  ++job->active_solves;
  std::erase_if(job->abort_solves, [](const auto& weak) { return weak.expired(); });
  auto abort = std::make_shared<std::function<void(absl::Status)>>([this, weak = std::weak_ptr(call)](absl::Status reason) {
    if (auto open = weak.lock()) {
      EndSolve(open, std::move(reason));
    }
  });
  job->abort_solves.push_back(abort);
  Announce(job, vertex);
  NodeFor(job, vertex)->outputs.insert(output);
  NeedResult(NodeFor(job, vertex), output, [this, call, abort](absl::StatusOr<ResultPtr> result) { EndSolve(call, std::move(result)); });
  if (!call->ended) {
    call->cancel = cancel.OnCancel([scheduler = weak_from_this(), weak = std::weak_ptr(call), cancel] {
      const std::shared_ptr<Scheduler> self = scheduler.lock();  // ending the call may let the solver go
      if (self == nullptr) return;
      self->mailbox_.Post([self = self.get(), weak, cancel] {
        if (auto open = weak.lock()) {
          self->EndSolve(open, cancel.status());
        }
      });
    });
  }
}

void Scheduler::EndSolve(const std::shared_ptr<SolveCall>& call, absl::StatusOr<ResultPtr> result) {
  if (std::exchange(call->ended, true)) {
    return;
  }
  if (--call->job->active_solves == 0) {
    LeaveWork(call->job, /*needed=*/!result.ok());
  }
  call->cancel = {};
  std::exchange(call->done, nullptr)(std::move(result));
}

void Scheduler::Close(const JobPtr& job) {
  const auto aborts = std::exchange(job->abort_solves, {});
  for (const auto& weak : aborts) {
    if (auto abort = weak.lock()) {
      (*abort)(absl::CancelledError("context canceled"));
    }
  }
  LeaveWork(job, /*needed=*/true);
  job->nodes.clear();
  --activity_.Lock()->closing_jobs;
  activity_.NotifyAll();
}

void Scheduler::LeaveWork(const JobPtr& job, bool needed) {
  job->cancel.Cancel();
  job->cancel = CancelSource();
  LeaveFlights(job, needed);
  if (!needed) TellRest(job);
  absl::erase_if(job->nodes, [](const auto& entry) {
    const NodePtr& node = entry.second;
    if (!node->busy() && !node->failure) {
      return false;
    }
    node->dead = true;
    node->key_waiters.clear();
    node->result_waiters.clear();
    return true;
  });
}

void Scheduler::TellRest(const JobPtr& job) {
  std::vector<NodePtr> rest;
  for (const auto& [digest, node] : job->nodes) {
    if (!node->ran && !node->marked_cached && !node->failure) rest.push_back(node);
  }
  std::sort(rest.begin(), rest.end(), [](const NodePtr& a, const NodePtr& b) { return a->position < b->position; });
  for (const NodePtr& node : rest) TellCached(node);
}

void Scheduler::LeaveFlights(const JobPtr& job, bool needed) {
  std::erase_if(flights_, [&](const auto& entry) {
    const FlightPtr& flight = entry.second;
    const size_t left = std::erase_if(flight->waiters, [&](const NodePtr& node) { return node->job.lock() == job; });
    if (left == 0) {
      return false;
    }
    flight->reporter->Leave(job->progress.get(), needed);
    flight->leader_left |= flight->leader.lock() == job;
    if (!flight->waiters.empty()) {
      return false;
    }
    flight->cancel.Cancel();
    return true;
  });
}

NodePtr Scheduler::NodeFor(const JobPtr& job, const VertexPtr& vertex) {
  NodePtr& node = job->nodes[vertex->digest];
  if (!node) {
    node = std::make_shared<Node>();
    node->vertex = vertex;
    node->job = job;
  }
  return node;
}

void Scheduler::Announce(const JobPtr& job, const VertexPtr& root) {
  std::vector<std::pair<VertexPtr, size_t>> path;  // a vertex and its next input to visit: depth first without recursion
  const auto enter = [&](const VertexPtr& vertex) {
    if (!job->nodes.contains(vertex->digest)) {
      NodeFor(job, vertex);
      path.emplace_back(vertex, 0);
    }
  };
  enter(root);
  while (!path.empty()) {
    auto& [vertex, next] = path.back();
    if (next < vertex->inputs.size()) {
      const VertexInput input = vertex->inputs[next++];
      enter(input.vertex);
      NodeFor(job, input.vertex)->outputs.insert(input.output);
      continue;
    }
    NodeFor(job, vertex)->position = ++job->announced;
    job->progress->OnVertex(Announcement(*vertex));
    path.pop_back();
  }
}

void Scheduler::MarkCached(const NodePtr& node) {
  std::vector<NodePtr> found = {node};
  node->marked_cached = true;
  for (size_t i = 0; i < found.size(); ++i) {
    for (size_t k = 0; k < found[i]->vertex->inputs.size(); ++k) {
      NodePtr input = InputOf(found[i], k);
      if (!input->ran && !input->marked_cached && input->result_stage == Stage::kIdle) {
        input->marked_cached = true;
        found.push_back(std::move(input));
      }
    }
  }
  for (auto it = found.rbegin(); it != found.rend(); ++it) TellCached(*it);
}

void Scheduler::TellCached(const NodePtr& node) {
  node->marked_cached = true;
  Reporter reporter(clock_);
  reporter.Listen(node->job.lock()->progress, node->vertex);
  reporter.Started();
  reporter.Completed(absl::OkStatus(), true);
}

void Scheduler::Fail(const NodePtr& node, absl::Status status) {
  if (!status.GetPayload(kFailedVertexPayload)) {
    status.SetPayload(kFailedVertexPayload, absl::Cord(node->vertex->digest));
  }
  node->failure = status;
  node->key_stage = node->key_stage == Stage::kDone ? Stage::kDone : Stage::kIdle;
  node->result_stage = Stage::kIdle;
  for (StatusCallback& waiter : std::exchange(node->key_waiters, {})) {
    mailbox_.Post([waiter = std::move(waiter), status] { waiter(status); });
  }
  for (auto& [output, waiters] : std::exchange(node->result_waiters, {})) {
    for (ResultCallback& waiter : waiters) {
      mailbox_.Post([waiter = std::move(waiter), status] { waiter(status); });
    }
  }
}

StatusCallback Scheduler::Gather(const NodePtr& node, size_t count, std::function<void()> done) {
  auto left = std::make_shared<size_t>(count);
  return [this, node, left, done = std::move(done)](absl::Status status) {
    if (node->ended()) {
      return;
    }
    if (!status.ok()) {
      Fail(node, std::move(status));
    } else if (--*left == 0) {
      done();
    }
  };
}

NodePtr Scheduler::InputOf(const NodePtr& node, size_t index) { return NodeFor(node->job.lock(), node->vertex->inputs[index].vertex); }

OpContext Scheduler::ContextOf(const NodePtr& node, const std::shared_ptr<Reporter>& reporter) {
  const JobPtr job = node->job.lock();
  reporter->Listen(job->progress, node->vertex);
  return {job->cancel.token(), reporter};
}

}  // namespace cachalot::solver
