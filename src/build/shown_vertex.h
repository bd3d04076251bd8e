// Work that belongs to no operation, shown to clients as a vertex of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/clock.h"
#include "solver/progress.h"

namespace cachalot::build {

// Thread-safe but for Finish.
class ShownVertex {
 public:
  // Starts it. `id` tells it from others of its name.
  ShownVertex(Clock* clock, std::shared_ptr<solver::ProgressSink> progress, const std::string& name, const std::string& id);
  // Runs `step`, shown as a status of the vertex while it runs.
  absl::Status Run(const std::string& name, const std::function<absl::Status()>& step);
  // Completes it; returns `status`.
  absl::Status Finish(const absl::Status& status);

 private:
  Clock* const clock_;
  const std::shared_ptr<solver::ProgressSink> progress_;
  solver::VertexEvent event_;
};

}  // namespace cachalot::build
