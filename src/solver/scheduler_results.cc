// Results: loaded under the canonical key, else produced by one flight that every waiter of the key shares.
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "solver/scheduler.h"

namespace cachalot::solver {

namespace {

// What the store has of `outputs`; all or nothing.
absl::StatusOr<std::map<int, ResultPtr>> LoadAll(CacheStore& store, Operation& op, const CacheKeyPtr& key, const std::vector<int>& outputs) {
  std::map<int, ResultPtr> results;
  for (const int output : outputs) {
    ASSIGN_OR_RETURN(ResultPtr result, store.Load(key, output));
    if (!result) {
      return std::map<int, ResultPtr>();
    }
    ASSIGN_OR_RETURN(const bool accepted, op.Accepts(output, result));
    if (!accepted) {
      return std::map<int, ResultPtr>();
    }
    results[output] = std::move(result);
  }
  return results;
}

std::vector<int> Wanted(const Node& node) {
  std::vector<int> outputs;
  for (const auto& [output, waiters] : node.result_waiters) {
    outputs.push_back(output);
  }
  return outputs;
}

}  // namespace

void Scheduler::NeedResult(const NodePtr& node, int output, ResultCallback done) {
  if (node->failure) {
    mailbox_.Post([done = std::move(done), status = *node->failure] { done(status); });
    return;
  }
  if (const auto it = node->results.find(output); it != node->results.end()) {
    mailbox_.Post([done = std::move(done), result = it->second] { done(result); });
    return;
  }
  node->result_waiters[output].push_back(std::move(done));
  if (std::exchange(node->result_stage, Stage::kBusy) != Stage::kBusy) {
    NeedKey(node, Gather(node, 1, [this, node] { OnResultKey(node); }));
    Foresee(node);
  }
}

void Scheduler::OnResultKey(const NodePtr& node) {
  if (flights_.contains(FlightKey(node))) {
    FlyOrJoin(node);
    return;
  }
  if (node->vertex->ignore_cache || node->key->ephemeral) {
    NeedInputs(node);
    return;
  }
  Command(
      [store = StoreOf(node), op = node->vertex->op, key = node->key, outputs = Wanted(*node)]() -> absl::StatusOr<Outcome> {
        ASSIGN_OR_RETURN(auto results, LoadAll(*store, *op, key, outputs));
        return Outcome{std::move(results), true};
      },
      [this, node](absl::StatusOr<Outcome> outcome) { OnLoaded(node, std::move(outcome)); });
}

void Scheduler::OnLoaded(const NodePtr& node, absl::StatusOr<Outcome> outcome) {
  if (node->ended()) {
    return;
  }
  if (!outcome.ok()) {
    Fail(node, outcome.status());
  } else if (outcome->results.empty()) {
    NeedInputs(node);
  } else {
    MarkCached(node);
    Deliver(node, std::move(outcome->results));
  }
}

void Scheduler::NeedInputs(const NodePtr& node) {
  const auto& inputs = node->vertex->inputs;
  if (inputs.empty()) {
    FlyOrJoin(node);
    return;
  }
  const StatusCallback gather = Gather(node, inputs.size(), [this, node] { FlyOrJoin(node); });
  for (size_t i = 0; i < inputs.size(); ++i) {
    mailbox_.Post([this, node, i, gather] { NeedInput(node, i, gather); });
  }
}

void Scheduler::NeedInput(const NodePtr& node, size_t index, StatusCallback done) {
  if (!node->ended()) {
    const auto forward = [done = std::move(done)](const absl::StatusOr<ResultPtr>& result) { done(result.status()); };
    NeedResult(InputOf(node, index), node->vertex->inputs[index].output, forward);
  }
}

std::string Scheduler::FlightKey(const NodePtr& node) {
  if (!node->vertex->op->Shareable()) {
    return absl::StrCat("unshared ", reinterpret_cast<std::uintptr_t>(node.get()));
  }
  // Whoever ignores the cache must not be served by a flight that may find a stored result.
  return node->vertex->ignore_cache ? absl::StrCat(node->key->id, " ignoring cache") : node->key->id;
}

void Scheduler::FlyOrJoin(const NodePtr& node) {
  node->ran = true;
  FlightPtr& flight = flights_[FlightKey(node)];
  const bool launch = !flight;
  if (launch) {
    flight = std::make_shared<Flight>();
    flight->key = FlightKey(node);
    flight->leader = node->job;
    flight->reporter = std::make_shared<Reporter>(clock_);
  }
  flight->waiters.push_back(node);
  flight->reporter->Listen(node->job.lock()->progress, node->vertex);
  if (launch) {
    Launch(flight, node);
  }
}

void Scheduler::Launch(const FlightPtr& flight, const NodePtr& node) {
  std::vector<ResultPtr> inputs;
  for (size_t i = 0; i < node->vertex->inputs.size(); ++i) {
    inputs.push_back(InputOf(node, i)->results.at(node->vertex->inputs[i].output));
  }
  const bool store_it = !node->key->ephemeral;
  const bool look_again = store_it && !node->vertex->ignore_cache;
  Command(
      [store = StoreOf(node), op = node->vertex->op, key = node->key, inputs = std::move(inputs), outputs = Wanted(*node), store_it, look_again,
       context = OpContext{flight->cancel.token(), flight->reporter}, reporter = flight->reporter]() -> absl::StatusOr<Outcome> {
        reporter->Started();
        const auto produce = [&]() -> absl::StatusOr<Outcome> {
          Outcome outcome;
          if (look_again) {
            // An equal flight may have landed between this node's look-up and now.
            ASSIGN_OR_RETURN(outcome.results, LoadAll(*store, *op, key, outputs));
            outcome.cached = !outcome.results.empty();
          }
          if (outcome.cached) {
            return outcome;
          }
          RETURN_IF_ERROR(context.cancel.status());
          ASSIGN_OR_RETURN(std::vector<ResultPtr> results, op->Run(inputs, context));
          if (outputs.back() >= static_cast<int>(results.size())) {
            return absl::InternalError(absl::StrCat("the operation has no output ", outputs.back()));
          }
          for (size_t i = 0; i < results.size(); ++i) {
            if (results[i] && store_it) {
              RETURN_IF_ERROR(store->Save(key, static_cast<int>(i), results[i]));
            }
            outcome.results[static_cast<int>(i)] = std::move(results[i]);
          }
          return outcome;
        };
        absl::StatusOr<Outcome> outcome = produce();
        reporter->Completed(outcome.status(), outcome.ok() && outcome->cached);
        return outcome;
      },
      [this, flight](absl::StatusOr<Outcome> outcome) { OnLanded(flight, std::move(outcome)); });
}

void Scheduler::OnLanded(const FlightPtr& flight, absl::StatusOr<Outcome> outcome) {
  if (const auto it = flights_.find(flight->key); it != flights_.end() && it->second == flight) {
    flights_.erase(it);
  }
  const bool only_leader = !outcome.ok() && outcome.status().GetPayload(kOnlyThisBuildPayload).has_value();
  const std::shared_ptr<JobState> leader = flight->leader.lock();
  for (const NodePtr& node : std::exchange(flight->waiters, {})) {
    if (node->ended()) {
      continue;
    }
    if (outcome.ok()) {
      Deliver(node, outcome->results);
    } else if (flight->leader_left || (only_leader && node->job.lock() != leader)) {
      OnResultKey(node);  // it may have failed for want of the leader's session: the next waiter leads
    } else if (!node->renewed && outcome.status().GetPayload(kLostInputPayload).has_value()) {
      RenewInputs(node);
    } else {
      Fail(node, outcome.status());
    }
  }
}

void Scheduler::RenewInputs(const NodePtr& node) {
  node->renewed = true;
  for (size_t i = 0; i < node->vertex->inputs.size(); ++i) {
    const NodePtr input = InputOf(node, i);
    if (input->result_stage != Stage::kDone || input->vertex->ignore_cache || input->key->ephemeral) {
      continue;  // of this build alone: nobody else could lose it
    }
    input->results.clear();
    input->result_stage = Stage::kIdle;
  }
  NeedInputs(node);
}

void Scheduler::Deliver(const NodePtr& node, std::map<int, ResultPtr> results) {
  node->results.merge(results);
  node->result_stage = Stage::kDone;
  auto waiting = std::exchange(node->result_waiters, {});
  for (auto& [output, waiters] : waiting) {
    const auto it = node->results.find(output);
    if (it == node->results.end()) {
      // Asked for while others were being loaded.
      for (ResultCallback& waiter : waiters) {
        NeedResult(node, output, std::move(waiter));
      }
      continue;
    }
    for (ResultCallback& waiter : waiters) {
      absl::StatusOr<ResultPtr> result = it->second;
      if (!it->second) {
        result = absl::InternalError(absl::StrCat("vertex ", node->vertex->digest, " has no output ", output));
      }
      mailbox_.Post([waiter = std::move(waiter), result = std::move(result)] { waiter(result); });
    }
  }
}

}  // namespace cachalot::solver
