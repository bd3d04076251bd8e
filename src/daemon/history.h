// The builds that run and those that ended, for clients that list, follow and look back.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/guarded.h"
#include "build/engine.h"
#include "buildkit/control.pb.h"
#include "daemon/build_recording.h"
#include "daemon/history_records.h"
#include "trace/recorder.h"

namespace cachalot::daemon {

// Which records go: those that are neither among the newest nor young enough. Pinned ones stay.
struct HistoryLimits {
  int max_entries = 50;
  absl::Duration max_age = absl::Hours(48);
};

// Thread-safe.
class History {
 public:
  // All arguments outlive the history.
  History(build::Engine& engine, trace::Recorder& traces, Clock& clock, HistoryLimits limits);
  ~History();  // saves the traces that are still gathered

  // A build begins, as part of `parent` if its client said so. False for one that is not recorded: an internal one, or one whose
  // ref belongs to a build that runs.
  bool Started(const build::BuildRequest& request, const std::optional<trace::Context>& parent);
  // It ended; on return its record can be read. Its trace follows: client's spans may come some seconds later.
  void Completed(const std::string& ref, BuildRecording& recording, const absl::StatusOr<build::BuildResponse>& result);

  using OnEvent = std::function<absl::Status(const moby::buildkit::v1::BuildHistoryEvent&)>;
  // Sends what is known, then (unless early_exit) what happens until `cancel`.
  absl::Status Listen(const moby::buildkit::v1::BuildHistoryRequest& request, const OnEvent& on_event, const CancelToken& cancel);
  // Pins, unpins, deletes or finalizes (waits for its trace) a record. NOT_FOUND for an unknown ref.
  absl::Status Update(const moby::buildkit::v1::UpdateBuildHistoryRequest& request);
  // The progress of a build that ended, from its log. False when there is no record of it.
  absl::StatusOr<bool> Replay(const std::string& ref, const std::function<absl::Status(const moby::buildkit::v1::StatusResponse&)>& on_message);

 private:
  using Record = HistoryRecords::Record;
  struct Active {
    Record record;
    trace::Context span;
    std::string parent_id;
  };
  // A record whose trace is not saved yet.
  struct Gathering {
    std::string ref, trace_id;
    std::chrono::steady_clock::time_point until;  // then it is saved as it is
  };
  struct State {
    std::map<std::string, Active> active;
    std::map<std::string, Gathering> gathering;  // by ref
    int listeners = 0;
    std::deque<moby::buildkit::v1::BuildHistoryEvent> events;  // the last ones while somebody listens
    std::int64_t next_event = 0;                               // number of the event that comes after `events`
    bool stopping = false;
  };

  void Publish(State& state, moby::buildkit::v1::BuildHistoryEventType type, const Record& record);
  absl::StatusOr<std::vector<moby::buildkit::v1::BuildHistoryEvent>> Known(const moby::buildkit::v1::BuildHistoryRequest& request,
                                                                           std::int64_t& next_event);
  absl::Status Change(const std::string& ref, const std::function<void(Record&)>& change);
  absl::Status Delete(const std::string& ref);
  void Finalize(const std::string& ref);
  void Expire();
  void SaveTraces();
  // Waits for the next trace that is to be saved; nothing when none comes any more.
  std::optional<Gathering> NextTrace();
  absl::Status SaveTrace(const Gathering& gathering);

  build::Engine& engine_;
  trace::Recorder& traces_;
  Clock& clock_;
  const HistoryLimits limits_;
  std::mutex records_mutex_;  // taken before the state's: records change in the order in which they are told of
  HistoryRecords records_;
  Guarded<State> state_;  // never locked during I/O: builds begin meanwhile
  std::thread trace_saver_;
};

}  // namespace cachalot::daemon
