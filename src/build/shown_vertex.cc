#include "build/shown_vertex.h"

#include <utility>

#include "oci/digest.h"

namespace cachalot::build {

ShownVertex::ShownVertex(Clock* clock, std::shared_ptr<solver::ProgressSink> progress, const std::string& name, const std::string& id)
    : clock_(clock), progress_(std::move(progress)) {
  event_.digest = oci::Digest::Of(id).str();
  event_.name = name;
  event_.started = clock_->Now();
  progress_->OnVertex(event_);
}

absl::Status ShownVertex::Run(const std::string& name, const std::function<absl::Status()>& step) {
  solver::StatusEvent status;
  status.vertex = event_.digest;
  status.id = name;
  status.started = status.timestamp = clock_->Now();
  progress_->OnStatus(status);
  absl::Status result = step();
  status.completed = status.timestamp = clock_->Now();
  progress_->OnStatus(status);
  return result;
}

absl::Status ShownVertex::Finish(const absl::Status& status) {
  event_.completed = clock_->Now();
  event_.error = std::string(status.message());
  progress_->OnVertex(event_);
  return status;
}

}  // namespace cachalot::build
