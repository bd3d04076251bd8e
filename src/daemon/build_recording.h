// What history keeps of a build's progress: the log of all events, as a blob, and its sums.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "build/engine.h"
#include "buildkit/control.pb.h"
#include "oci/image.h"
#include "solver/progress.h"
#include "store/blobs.h"

namespace cachalot::daemon {

// Takes one build's progress. Not thread-safe.
class BuildRecording {
 public:
  // `blobs` outlives this.
  explicit BuildRecording(store::BlobStore& blobs) : blobs_(blobs) {}

  void Add(const build::ProgressBatch& batch);

  struct Summary {
    oci::Descriptor logs;
    std::shared_ptr<store::BlobPin> pin;  // of the logs
    int cached_steps = 0, completed_steps = 0, total_steps = 0, warnings = 0;
    std::vector<solver::VertexEvent> vertices;  // the last state of each, in the order of their first events
  };
  absl::StatusOr<Summary> Finish();

 private:
  absl::Status Write(const moby::buildkit::v1::StatusResponse& message);
  void Count(const solver::VertexEvent& event);

  store::BlobStore& blobs_;
  std::unique_ptr<store::BlobWriter> writer_;
  absl::Status status_;
  std::map<std::string, std::size_t> index_;  // of `summary_.vertices`, by digest
  Summary summary_;
};

// Reads a log that a recording wrote: messages with their size in front (4 bytes, little endian).
absl::Status ReplayLog(store::BlobStore& blobs, const oci::Digest& log,
                       const std::function<absl::Status(const moby::buildkit::v1::StatusResponse&)>& on_message);

}  // namespace cachalot::daemon
