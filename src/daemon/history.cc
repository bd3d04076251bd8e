#include "daemon/history.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "daemon/rpc_error.h"
#include "daemon/timestamps.h"

namespace cachalot::daemon {

namespace {

namespace control = moby::buildkit::v1;
// Listeners that fall this far behind miss events rather than make the process grow.
constexpr std::size_t kMaxEvents = 1024;

bool Wanted(const control::BuildHistoryRequest& request, const std::string& ref) { return request.ref().empty() || request.ref() == ref; }

}  // namespace

void History::Publish(State& state, control::BuildHistoryEventType type, const Record& record) {
  control::BuildHistoryEvent event;
  event.set_type(type);
  *event.mutable_record() = record;
  state.events.push_back(std::move(event));
  ++state.next_event;
  if (state.events.size() > kMaxEvents) {
    state.events.pop_front();
  }
  state_.NotifyAll();
}

void History::Started(const build::BuildRequest& request) {
  if (request.internal) {
    return;
  }
  Record record;
  record.set_ref(request.ref);
  record.set_frontend(request.frontend);
  record.mutable_frontendattrs()->insert(request.options.begin(), request.options.end());
  for (const auto& exporter : request.exports) {
    auto* encoded = record.add_exporters();
    encoded->set_type(exporter.type);
    encoded->mutable_attrs()->insert(exporter.attrs.begin(), exporter.attrs.end());
  }
  EncodeTime(clock_.Now(), record.mutable_createdat());
  auto state = state_.Lock();
  Publish(*state, control::STARTED, record);
  state->active[request.ref] = std::move(record);
}

void History::Completed(const std::string& ref, const absl::StatusOr<build::BuildResponse>& result) {
  auto state = state_.Lock();
  const auto found = state->active.find(ref);
  if (found == state->active.end()) {
    return;
  }
  Record record = std::move(found->second);
  state->active.erase(found);
  EncodeTime(clock_.Now(), record.mutable_completedat());
  record.mutable_result();
  if (result.ok()) {
    record.mutable_exporterresponse()->insert(result->exporter_response.begin(), result->exporter_response.end());
  } else {
    *record.mutable_error() = EncodeError(result.status());
  }
  record.set_generation(1);
  Publish(*state, control::COMPLETE, record);
  state->ended.push_back(std::move(record));
  if (state->ended.size() > max_entries_) {
    const auto oldest = std::find_if(state->ended.begin(), state->ended.end(), [](const Record& ended) { return !ended.pinned(); });
    if (oldest != state->ended.end()) {
      state->ended.erase(oldest);
    }
  }
}

absl::Status History::Listen(const control::BuildHistoryRequest& request, const OnEvent& on_event, const CancelToken& cancel) {
  std::vector<control::BuildHistoryEvent> batch;
  const auto add = [&](control::BuildHistoryEventType type, const Record& record) {
    if (Wanted(request, record.ref())) {
      batch.emplace_back().set_type(type);
      *batch.back().mutable_record() = record;
    }
  };
  std::int64_t next = 0;
  {
    auto state = state_.Lock();
    for (const auto& [ref, record] : state->active) add(control::STARTED, record);
    if (!request.activeonly()) {
      for (const Record& record : state->ended) add(control::COMPLETE, record);
    }
    next = state->next_event;
  }
  const auto wake = cancel.OnCancel([this] {
    { auto lock = state_.Lock(); }  // orders the notification after a listener's check
    state_.NotifyAll();
  });
  while (true) {
    for (const auto& event : batch) {
      RETURN_IF_ERROR(on_event(event));
    }
    if (request.earlyexit()) {
      return absl::OkStatus();
    }
    batch.clear();
    auto state = state_.Lock();
    state.Wait([&](State& now) { return now.next_event > next || cancel.cancelled(); });
    if (cancel.cancelled()) {
      return cancel.status();
    }
    const std::int64_t first = state->next_event - static_cast<std::int64_t>(state->events.size());
    for (next = std::max(next, first); next < state->next_event; ++next) {
      const auto& event = state->events[static_cast<std::size_t>(next - first)];
      if (Wanted(request, event.record().ref())) batch.push_back(event);
    }
  }
}

absl::Status History::Update(const control::UpdateBuildHistoryRequest& request) {
  auto state = state_.Lock();
  const auto found = std::find_if(state->ended.begin(), state->ended.end(), [&](const Record& record) { return record.ref() == request.ref(); });
  if (found == state->ended.end()) {
    return absl::NotFoundError(absl::StrCat("no build record ", request.ref()));
  }
  if (request.delete_()) {
    const Record record = std::move(*found);
    state->ended.erase(found);
    Publish(*state, control::DELETED, record);
    return absl::OkStatus();
  }
  if (!request.finalize() && found->pinned() != request.pinned()) {
    found->set_pinned(request.pinned());
    found->set_generation(found->generation() + 1);
    Publish(*state, control::COMPLETE, *found);
  }
  return absl::OkStatus();
}

}  // namespace cachalot::daemon
