// Build records on disk, in the protocol's form.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "build/engine.h"
#include "buildkit/control.pb.h"
#include "oci/image.h"

namespace cachalot::daemon {

// Thread-safe.
class HistoryRecords {
 public:
  using Record = moby::buildkit::v1::BuildHistoryRecord;
  // The engine outlives this.
  explicit HistoryRecords(build::Engine& engine) : engine_(engine) {}

  // Adds or replaces. The blobs that the record speaks of, as far as they are in the store, live as long as it does.
  absl::Status Save(const Record& record);
  absl::StatusOr<std::optional<Record>> Find(const std::string& ref);
  absl::StatusOr<std::vector<Record>> All();  // newest first
  absl::StatusOr<bool> Delete(const std::string& ref);
  absl::StatusOr<std::vector<std::string>> Expired(int keep, absl::Time limit);

 private:
  build::Engine& engine_;
};

// The record of a build that begins.
HistoryRecords::Record NewRecord(const build::BuildRequest& request, absl::Time now);
void EncodeDescriptor(const oci::Descriptor& descriptor, moby::buildkit::v1::Descriptor* message);
// Fills in what came out of a build.
void EncodeResponse(const build::BuildResponse& response, HistoryRecords::Record& record);
// Puts the error into the record, its details into a blob of their own, which is returned pinned.
absl::StatusOr<std::shared_ptr<store::BlobPin>> EncodeFailure(const absl::Status& failure, store::BlobStore& blobs, HistoryRecords::Record& record);

}  // namespace cachalot::daemon
