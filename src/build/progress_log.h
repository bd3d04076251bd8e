// The progress of one build, kept so that any number of clients can follow it from its start, at any time. It grows with the graph and
// with the bytes that steps print (which op/log_pump.h bounds), not with how often something is said: a status replaces the one before
// it, and what is printed in one moment is one log.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "base/cancel.h"
#include "base/guarded.h"
#include "build/engine.h"
#include "solver/progress.h"

namespace cachalot::build {

// Thread-safe.
class ProgressLog : public solver::ProgressSink {
 public:
  void OnVertex(solver::VertexEvent event) override;
  void OnStatus(solver::StatusEvent event) override;
  void OnLog(solver::LogEvent event) override;
  void OnWarning(solver::WarningEvent event) override;
  // Nothing more comes. Who follows leaves after the last event.
  void Finish();

  // Hands over everything from the start on, in batches, until Finish() or an error of `on_batch`.
  absl::Status Follow(const std::function<absl::Status(const ProgressBatch&)>& on_batch, const CancelToken& cancel);

 private:
  struct State {
    ProgressBatch events;                                                // without statuses
    std::map<std::int64_t, solver::StatusEvent> statuses;                // by their numbers, from 1
    std::map<std::pair<std::string, std::string>, std::int64_t> latest;  // by vertex and id
    std::int64_t last_status = 0;
    std::size_t taken_logs = 0;  // that somebody has
    bool finished = false;
  };
  struct Position {
    std::size_t vertexes = 0, logs = 0, warnings = 0;
    std::int64_t status = 0;
  };
  template <typename Change>
  void Add(Change change);
  static bool HasNews(const State& state, const Position& seen);
  static ProgressBatch TakeNews(State& state, Position& seen);

  Guarded<State> state_;
};

}  // namespace cachalot::build
