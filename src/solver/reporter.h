// Progress events of vertices: what clients see started, completed, cached and failed.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "solver/solver.h"

namespace cachalot::solver {

// An OpProgress that reaches every job waiting for the same work, each under its own vertex digest. Thread-safe.
class Reporter final : public OpProgress {
 public:
  explicit Reporter(Clock* clock) : clock_(clock) {}

  // Adds a listener; announces the vertex as started to it if work has begun, with what the work has told since, and as cached if it is done.
  void Listen(const std::shared_ptr<ProgressSink>& sink, const VertexPtr& vertex);
  // `sink` hears no more, though others may wait for the work still. If it was `needed`, it counts as cancelled to who has seen it begin;
  // if the job's result came without it, as cached.
  void Leave(const ProgressSink* sink, bool needed);

  void Started();
  // Ends what Started() began; `cached` when nothing had to be done after all.
  void Completed(const absl::Status& status, bool cached);

  void Status(StatusEvent event) override;
  void Log(int stream, absl::string_view data) override;
  void Warning(WarningEvent event) override;

 private:
  struct Listener {
    std::shared_ptr<ProgressSink> sink;
    VertexPtr vertex;
  };

  void Repeat(const Listener& listener) const;
  void Forget();

  Clock* const clock_;
  std::mutex mutex_;
  std::vector<Listener> listeners_;
  // What the running work has told, for who comes later; of long logs the end.
  std::deque<LogEvent> logs_;
  std::size_t log_bytes_ = 0;
  std::map<std::string, StatusEvent> statuses_;  // the last one by id
  std::vector<WarningEvent> warnings_;
  std::optional<absl::Time> started_;
  std::optional<absl::Time> done_;  // when what was started last has ended well
};

// The event that describes `vertex` before anything happened to it.
VertexEvent Announcement(const Vertex& vertex);

}  // namespace cachalot::solver
