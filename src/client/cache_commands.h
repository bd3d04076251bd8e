// `cachalot du` and `cachalot prune`.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/connection.h"

namespace cachalot::client {

struct DiskUsageOptions {
  std::vector<std::string> filters;
  bool verbose = false;
};
absl::Status ShowDiskUsage(const DiskUsageOptions& options, const ConnectOptions& connect);

struct PruneOptions {
  std::vector<std::string> filters;
  bool all = false, verbose = false;
  std::string keep_duration, reserved_space, max_used_space, min_free_space;
};
absl::Status Prune(const PruneOptions& options, const ConnectOptions& connect);

// 1234567 is "1.235MB".
std::string FormatSize(std::int64_t bytes);

}  // namespace cachalot::client
