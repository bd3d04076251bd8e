#include "daemon/history.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "daemon/history_filter.h"
#include "daemon/timestamps.h"
#include "trace/build_spans.h"
#include "trace/json.h"

namespace cachalot::daemon {

namespace {

namespace control = moby::buildkit::v1;
// Listeners that fall this far behind miss events rather than make the process grow.
constexpr std::size_t kMaxEvents = 1024;
// Clients send their spans when their command ends.
constexpr std::chrono::seconds kTracePatience(3);
constexpr char kTraceMediaType[] = "application/vnd.buildkit.otlp.json.v0";

bool Wanted(const control::BuildHistoryRequest& request, const std::string& ref) { return request.ref().empty() || request.ref() == ref; }

control::BuildHistoryEvent EventOf(control::BuildHistoryEventType type, HistoryRecords::Record record) {
  control::BuildHistoryEvent event;
  event.set_type(type);
  *event.mutable_record() = std::move(record);
  return event;
}

void EncodeSummary(const BuildRecording::Summary& summary, HistoryRecords::Record& record) {
  EncodeDescriptor(summary.logs, record.mutable_logs());
  record.set_numcachedsteps(summary.cached_steps);
  record.set_numcompletedsteps(summary.completed_steps);
  record.set_numtotalsteps(summary.total_steps);
  record.set_numwarnings(summary.warnings);
}

}  // namespace

History::History(build::Engine& engine, trace::Recorder& traces, Clock& clock, HistoryLimits limits)
    : engine_(engine), traces_(traces), clock_(clock), limits_(limits), records_(engine), trace_saver_(NewThread([this] { SaveTraces(); })) {}

History::~History() {
  state_.Lock()->stopping = true;
  state_.NotifyAll();
  trace_saver_.join();
}

void History::Publish(State& state, control::BuildHistoryEventType type, const Record& record) {
  ++state.next_event;
  if (state.listeners > 0) state.events.push_back(EventOf(type, record));
  if (state.events.size() > kMaxEvents) state.events.pop_front();
  state_.NotifyAll();
}

bool History::Started(const build::BuildRequest& request, const std::optional<trace::Context>& parent) {
  if (request.internal) return false;
  Active active{NewRecord(request, clock_.Now()), trace::NewContext(), ""};
  if (parent.has_value()) {
    active.span.trace_id = parent->trace_id;
    active.parent_id = parent->span_id;
  }
  auto state = state_.Lock();
  const auto [build, is_new] = state->active.try_emplace(request.ref, std::move(active));
  if (!is_new) return false;
  traces_.Listen(build->second.span.trace_id);
  Publish(*state, control::STARTED, build->second.record);
  return true;
}

void History::Completed(const std::string& ref, BuildRecording& recording, const absl::StatusOr<build::BuildResponse>& result) {
  Active build = state_.Lock()->active.at(ref);
  Record& record = build.record;
  EncodeTime(clock_.Now(), record.mutable_completedat());
  record.set_generation(1);
  std::shared_ptr<store::BlobPin> failure_pin;
  absl::Status status;
  if (result.ok()) {
    EncodeResponse(*result, record);
  } else if (auto pin = EncodeFailure(result.status(), engine_.blobs(), record); pin.ok()) {
    failure_pin = *std::move(pin);
  } else {
    status = pin.status();
  }
  const absl::StatusOr<BuildRecording::Summary> summary = recording.Finish();
  std::vector<solver::VertexEvent> vertices;
  if (summary.ok()) {
    EncodeSummary(*summary, record);
    vertices = summary->vertices;
  } else {
    status.Update(summary.status());
  }
  traces_.Add(trace::SpansOfBuild(
      build.span, build.parent_id,
      {ref, record.frontend(), DecodeTime(record.createdat()), DecodeTime(record.completedat()), std::string(result.status().message())}, vertices));
  {
    std::lock_guard order(records_mutex_);
    status.Update(records_.Save(record));
    auto state = state_.Lock();
    state->active.erase(ref);
    state->gathering[ref] = {ref, build.span.trace_id, std::chrono::steady_clock::now() + kTracePatience};
    Publish(*state, control::COMPLETE, record);
  }
  if (!status.ok()) LogWarning("the record of build ", ref, " is not complete: ", status.message());
  Expire();
}

void History::Expire() {
  const auto expired = records_.Expired(limits_.max_entries, clock_.Now() - limits_.max_age);
  if (!expired.ok()) return LogWarning("looking for old build records failed: ", expired.status().message());
  for (const std::string& ref : *expired) {
    const absl::Status deleted = Delete(ref);
    if (!deleted.ok() && !absl::IsNotFound(deleted)) LogWarning("deleting build record ", ref, " failed: ", deleted.message());
  }
}

absl::StatusOr<std::vector<control::BuildHistoryEvent>> History::Known(const control::BuildHistoryRequest& request, std::int64_t& next_event) {
  if (request.limit() < 0) return absl::InvalidArgumentError(absl::StrCat("invalid limit ", request.limit()));
  ASSIGN_OR_RETURN(const HistoryFilter filter, HistoryFilter::Parse({request.filter().begin(), request.filter().end()}, clock_.Now()));
  std::vector<control::BuildHistoryEvent> events;
  std::vector<Record> ended;
  {
    // Records change within this lock alone, and are told of within it: an event that comes after these is not in them.
    std::lock_guard order(records_mutex_);
    {
      auto state = state_.Lock();
      next_event = state->next_event;
      for (const auto& [ref, build] : state->active) {
        if (Wanted(request, ref)) events.push_back(EventOf(control::STARTED, build.record));
      }
    }
    if (!request.activeonly() && request.ref().empty()) {
      ASSIGN_OR_RETURN(ended, records_.All());
    } else if (!request.activeonly()) {
      ASSIGN_OR_RETURN(std::optional<Record> record, records_.Find(request.ref()));
      if (record.has_value()) ended.push_back(*std::move(record));
    }
  }
  int left = request.limit() == 0 ? static_cast<int>(ended.size()) : request.limit();
  for (Record& record : ended) {
    if (left == 0) break;
    if (!filter.Matches(record)) continue;
    events.push_back(EventOf(control::COMPLETE, std::move(record)));
    --left;
  }
  return events;
}

absl::Status History::Listen(const control::BuildHistoryRequest& request, const OnEvent& on_event, const CancelToken& cancel) {
  ++state_.Lock()->listeners;
  const absl::Cleanup leave = [this] {
    auto state = state_.Lock();
    if (--state->listeners == 0) state->events.clear();
  };
  std::int64_t next = 0;
  ASSIGN_OR_RETURN(std::vector<control::BuildHistoryEvent> batch, Known(request, next));
  const auto wake = cancel.OnCancel([this] {
    { auto lock = state_.Lock(); }  // orders the notification after a listener's check
    state_.NotifyAll();
  });
  while (true) {
    for (const auto& event : batch) {
      RETURN_IF_ERROR(on_event(event));
    }
    if (request.earlyexit()) return absl::OkStatus();
    batch.clear();
    auto state = state_.Lock();
    state.Wait([&](State& now) { return now.next_event > next || cancel.cancelled(); });
    if (cancel.cancelled()) return cancel.status();
    const std::int64_t first = state->next_event - static_cast<std::int64_t>(state->events.size());
    for (next = std::max(next, first); next < state->next_event; ++next) {
      const auto& event = state->events[static_cast<std::size_t>(next - first)];
      if (Wanted(request, event.record().ref())) batch.push_back(event);
    }
  }
}

absl::Status History::Change(const std::string& ref, const std::function<void(Record&)>& change) {
  std::lock_guard order(records_mutex_);
  ASSIGN_OR_RETURN(std::optional<Record> record, records_.Find(ref));
  if (!record.has_value()) return absl::NotFoundError(absl::StrCat("no build record ", ref));
  change(*record);
  record->set_generation(record->generation() + 1);
  RETURN_IF_ERROR(records_.Save(*record));
  Publish(*state_.Lock(), control::COMPLETE, *record);
  return absl::OkStatus();
}

absl::Status History::Delete(const std::string& ref) {
  std::lock_guard order(records_mutex_);
  ASSIGN_OR_RETURN(const bool deleted, records_.Delete(ref));
  if (!deleted) return absl::NotFoundError(absl::StrCat("no build record ", ref));
  Record gone;
  gone.set_ref(ref);
  Publish(*state_.Lock(), control::DELETED, gone);
  return absl::OkStatus();
}

absl::Status History::Update(const control::UpdateBuildHistoryRequest& request) {
  if (request.delete_()) {
    Finalize(request.ref());
    return Delete(request.ref());
  }
  if (request.finalize()) {
    Finalize(request.ref());
    return absl::OkStatus();
  }
  return Change(request.ref(), [&](Record& record) { record.set_pinned(request.pinned()); });
}

absl::StatusOr<bool> History::Replay(const std::string& ref, const std::function<absl::Status(const control::StatusResponse&)>& on_message) {
  ASSIGN_OR_RETURN(const std::optional<Record> record, records_.Find(ref));
  if (!record.has_value()) return false;
  if (!record->has_logs()) return true;
  ASSIGN_OR_RETURN(const oci::Digest log, oci::Digest::Parse(record->logs().digest()));
  RETURN_IF_ERROR(ReplayLog(engine_.blobs(), log, on_message));
  return true;
}

void History::Finalize(const std::string& ref) {
  auto state = state_.Lock();
  const auto found = state->gathering.find(ref);
  if (found == state->gathering.end()) return;
  found->second.until = std::chrono::steady_clock::time_point::min();
  state_.NotifyAll();
  state.Wait([&](const State& now) { return !now.gathering.contains(ref); });
}

std::optional<History::Gathering> History::NextTrace() {
  auto state = state_.Lock();
  while (true) {
    const auto first = std::min_element(state->gathering.begin(), state->gathering.end(),
                                        [](const auto& a, const auto& b) { return a.second.until < b.second.until; });
    if (first == state->gathering.end()) {
      if (state->stopping) return std::nullopt;
      state.Wait([](const State& now) { return now.stopping || !now.gathering.empty(); });
      continue;
    }
    const auto until = first->second.until;
    if (state->stopping || until <= std::chrono::steady_clock::now()) return first->second;
    state.WaitUntil(until, [until](const State& now) {
      return now.stopping || std::any_of(now.gathering.begin(), now.gathering.end(), [until](const auto& g) { return g.second.until < until; });
    });
  }
}

void History::SaveTraces() {
  while (const std::optional<Gathering> next = NextTrace()) {
    const absl::Status saved = SaveTrace(*next);
    if (!saved.ok() && !absl::IsNotFound(saved)) LogWarning("saving the trace of build ", next->ref, " failed: ", saved.message());
    state_.Lock()->gathering.erase(next->ref);
    state_.NotifyAll();
  }
}

absl::Status History::SaveTrace(const Gathering& gathering) {
  const std::string json = trace::ToJson(traces_.Take(gathering.trace_id));
  if (json.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const oci::Digest digest, engine_.blobs().Put(json));
  const std::shared_ptr<store::BlobPin> pin = engine_.blobs().Pin(digest);
  return Change(gathering.ref, [&](Record& record) {
    EncodeDescriptor({.media_type = kTraceMediaType, .digest = digest, .size = static_cast<std::int64_t>(json.size())}, record.mutable_trace());
  });
}

}  // namespace cachalot::daemon
