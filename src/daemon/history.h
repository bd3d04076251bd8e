// The builds of this process: those that run and the last ones that ended, for clients that list or follow them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/guarded.h"
#include "build/engine.h"
#include "buildkit/control.pb.h"

namespace cachalot::daemon {

// Thread-safe. Records live in memory: at most `max_entries` that ended, pinned ones apart.
class History {
 public:
  explicit History(Clock& clock, std::size_t max_entries = 50) : clock_(clock), max_entries_(max_entries) {}

  void Started(const build::BuildRequest& request);
  void Completed(const std::string& ref, const absl::StatusOr<build::BuildResponse>& result);

  using OnEvent = std::function<absl::Status(const moby::buildkit::v1::BuildHistoryEvent&)>;
  // Sends what is known, then (unless early_exit) what happens until `cancel`.
  absl::Status Listen(const moby::buildkit::v1::BuildHistoryRequest& request, const OnEvent& on_event, const CancelToken& cancel);
  // Pins, unpins or deletes a record. NOT_FOUND for an unknown ref.
  absl::Status Update(const moby::buildkit::v1::UpdateBuildHistoryRequest& request);

 private:
  using Record = moby::buildkit::v1::BuildHistoryRecord;
  struct State {
    std::map<std::string, Record> active;
    std::deque<Record> ended;                                  // oldest first
    std::deque<moby::buildkit::v1::BuildHistoryEvent> events;  // the last ones, for listeners
    std::int64_t next_event = 0;                               // number of the event that comes after `events`
  };
  void Publish(State& state, moby::buildkit::v1::BuildHistoryEventType type, const Record& record);

  Clock& clock_;
  const std::size_t max_entries_;
  Guarded<State> state_;
};

}  // namespace cachalot::daemon
