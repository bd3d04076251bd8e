#include "build/progress_log.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/status_macros.h"

namespace cachalot::build {
namespace {

// Events that come close together travel together.
constexpr std::chrono::milliseconds kGather(10);
constexpr std::size_t kMaxEvents = 2000;
constexpr std::size_t kMaxLogBytes = 1 << 20;

template <typename Event>
void Move(const std::vector<Event>& from, std::size_t& seen, std::vector<Event>& to) {
  const std::size_t count = std::min(from.size() - seen, kMaxEvents);
  to.assign(from.begin() + seen, from.begin() + seen + count);
  seen += count;
}

}  // namespace

template <typename Change>
void ProgressLog::Add(Change change) {
  {
    auto state = state_.Lock();
    if (state->finished) return;
    change(*state);
  }
  state_.NotifyAll();
}

void ProgressLog::OnVertex(solver::VertexEvent event) {
  Add([&](State& state) { state.events.vertexes.push_back(std::move(event)); });
}
void ProgressLog::OnStatus(solver::StatusEvent event) {
  Add([&](State& state) { state.events.statuses.push_back(std::move(event)); });
}
void ProgressLog::OnLog(solver::LogEvent event) {
  Add([&](State& state) { state.events.logs.push_back(std::move(event)); });
}
void ProgressLog::OnWarning(solver::WarningEvent event) {
  Add([&](State& state) { state.events.warnings.push_back(std::move(event)); });
}
void ProgressLog::Finish() {
  Add([](State& state) { state.finished = true; });
}

bool ProgressLog::HasNews(const State& state, const Position& seen) {
  const ProgressBatch& events = state.events;
  return events.vertexes.size() > seen.vertexes || events.statuses.size() > seen.statuses || events.logs.size() > seen.logs ||
         events.warnings.size() > seen.warnings;
}

ProgressBatch ProgressLog::TakeNews(const State& state, Position& seen) {
  ProgressBatch batch;
  Move(state.events.vertexes, seen.vertexes, batch.vertexes);
  Move(state.events.statuses, seen.statuses, batch.statuses);
  Move(state.events.warnings, seen.warnings, batch.warnings);
  std::size_t bytes = 0;
  while (seen.logs < state.events.logs.size() && bytes < kMaxLogBytes) {
    batch.logs.push_back(state.events.logs[seen.logs++]);
    bytes += batch.logs.back().data.size();
  }
  return batch;
}

absl::Status ProgressLog::Follow(const std::function<absl::Status(const ProgressBatch&)>& on_batch, const CancelToken& cancel) {
  const CancelToken::Registration wake = cancel.OnCancel([this] {
    state_.Lock();  // so that no follower is between its look at the token and its sleep
    state_.NotifyAll();
  });
  Position seen;
  while (true) {
    ProgressBatch batch;
    {
      auto state = state_.Lock();
      state.Wait([&](const State& s) { return HasNews(s, seen) || s.finished || cancel.cancelled(); });
      state.WaitUntil(std::chrono::steady_clock::now() + kGather, [&](const State& s) { return s.finished || cancel.cancelled(); });
      RETURN_IF_ERROR(cancel.status());
      if (!HasNews(*state, seen)) return absl::OkStatus();
      batch = TakeNews(*state, seen);
    }
    RETURN_IF_ERROR(on_batch(batch));
  }
}

}  // namespace cachalot::build
