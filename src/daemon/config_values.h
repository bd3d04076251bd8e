// The value syntaxes of buildkitd's settings: durations, amounts of disk space, and the collection policies made of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "snapshot/snapshots.h"

namespace cachalot::daemon {

// "48h", "1h30m" or a number of seconds.
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);

// Bytes, or a share of the disk.
struct DiskSpace {
  std::int64_t bytes = 0;
  std::int64_t percentage = 0;
  bool empty() const { return bytes == 0 && percentage == 0; }
  // On a disk of `total` bytes.
  std::int64_t OnDisk(std::int64_t total) const;
};
// "512MB" (units of 1024: b, k, m, g, t, p, with an optional i and b), a number of bytes, or "20%".
absl::StatusOr<DiskSpace> ParseDiskSpace(absl::string_view text);

struct CollectionLimits {
  DiskSpace reserved, max_used, min_free;
  bool empty() const { return reserved.empty() && max_used.empty() && min_free.empty(); }
};
// "Reserved[,Free[,Maximum]]" in megabytes, as --oci-worker-gc-keepstorage has it.
absl::StatusOr<CollectionLimits> ParseKeepStorage(absl::string_view text);

// The bytes of the disk that `path` is, or would be, on; 0 when unknown.
std::int64_t DiskTotal(const std::string& path);
// The four policies that hold without configured ones; empty limits are made from the disk's size.
std::vector<snapshot::PrunePolicy> DefaultPolicies(const CollectionLimits& limits, std::int64_t disk_total);

}  // namespace cachalot::daemon
