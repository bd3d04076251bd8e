// The progress of one build, kept so that any number of clients can follow it from its start, at any time.
#pragma once

#include <functional>

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
    ProgressBatch events;
    bool finished = false;
  };
  struct Position {
    std::size_t vertexes = 0, statuses = 0, logs = 0, warnings = 0;
  };
  template <typename Change>
  void Add(Change change);
  static bool HasNews(const State& state, const Position& seen);
  static ProgressBatch TakeNews(const State& state, Position& seen);

  Guarded<State> state_;
};

}  // namespace cachalot::build
