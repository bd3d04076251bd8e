#include "build/progress_log.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/time/time.h"
#include "base/status_macros.h"

namespace cachalot::build {
namespace {

// Events that come close together travel together.
constexpr std::chrono::milliseconds kGather(10);
constexpr std::size_t kMaxEvents = 2000;
constexpr std::size_t kMaxLogBytes = 1 << 20;
constexpr std::size_t kSmallLog = 4096;

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
  Add([&](State& state) {
    std::int64_t& number = state.latest[{event.vertex, event.id}];
    state.statuses.erase(number);
    number = ++state.last_status;
    state.statuses.emplace(number, std::move(event));
  });
}
void ProgressLog::OnLog(solver::LogEvent event) {
  Add([&](State& state) {
    std::vector<solver::LogEvent>& logs = state.events.logs;
    if (logs.size() > state.taken_logs) {
      solver::LogEvent& last = logs.back();
      const bool same = last.vertex == event.vertex && last.stream == event.stream;
      if (same && last.data.size() + event.data.size() <= kSmallLog && event.timestamp - last.timestamp < absl::FromChrono(kGather)) {
        last.data += event.data;
        return;
      }
    }
    logs.push_back(std::move(event));
  });
}
void ProgressLog::OnWarning(solver::WarningEvent event) {
  Add([&](State& state) { state.events.warnings.push_back(std::move(event)); });
}
void ProgressLog::Finish() {
  Add([](State& state) { state.finished = true; });
}

bool ProgressLog::HasNews(const State& state, const Position& seen) {
  const ProgressBatch& events = state.events;
  return events.vertexes.size() > seen.vertexes || state.last_status > seen.status || events.logs.size() > seen.logs ||
         events.warnings.size() > seen.warnings;
}

ProgressBatch ProgressLog::TakeNews(State& state, Position& seen) {
  ProgressBatch batch;
  Move(state.events.vertexes, seen.vertexes, batch.vertexes);
  for (auto status = state.statuses.upper_bound(seen.status); status != state.statuses.end() && batch.statuses.size() < kMaxEvents; ++status) {
    batch.statuses.push_back(status->second);
    seen.status = status->first;
  }
  Move(state.events.warnings, seen.warnings, batch.warnings);
  std::size_t bytes = 0;
  while (seen.logs < state.events.logs.size() && bytes < kMaxLogBytes) {
    batch.logs.push_back(state.events.logs[seen.logs++]);
    bytes += batch.logs.back().data.size();
  }
  state.taken_logs = std::max(state.taken_logs, seen.logs);
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
