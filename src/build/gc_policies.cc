#include "build/gc_policies.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <string>

#include "base/log.h"

namespace cachalot::build {
namespace {

constexpr std::int64_t kGigabyte = 1'000'000'000;

// A share of the disk, rounded up to a gigabyte, at most `bound`.
std::int64_t Share(std::int64_t disk, int percent, std::int64_t bound) {
  if (disk == 0) return 2 * kGigabyte;
  const std::int64_t share = (disk * percent / 100 / (1 << 30) + 1) * kGigabyte;
  return bound == 0 ? share : std::min(share, bound);
}

}  // namespace

std::vector<snapshot::PrunePolicy> DefaultPolicies(const std::string& root) {
  struct statvfs disk = {};
  std::int64_t total = 0;
  if (::statvfs(root.c_str(), &disk) == 0) total = static_cast<std::int64_t>(disk.f_blocks) * static_cast<std::int64_t>(disk.f_frsize);
  // What is easily made again goes after two days when it takes more than 512 MB.
  snapshot::PrunePolicy cheap;
  cheap.filters = {"type==source.local", "type==exec.cachemount", "type==source.git.checkout"};
  cheap.keep_duration = absl::Hours(48);
  cheap.max_used_space = 512'000'000;
  snapshot::PrunePolicy bounded;
  bounded.reserved_space = Share(total, 10, 10 * kGigabyte);
  bounded.max_used_space = Share(total, 60, 100 * kGigabyte);
  bounded.min_free_space = Share(total, 20, 0);
  snapshot::PrunePolicy old = bounded;
  old.keep_duration = absl::Hours(60 * 24);
  snapshot::PrunePolicy all = bounded;
  all.all = true;
  return {cheap, old, bounded, all};
}

void CollectGarbage(snapshot::Snapshots& snapshots, const std::vector<snapshot::PrunePolicy>& policies) {
  for (const snapshot::PrunePolicy& policy : policies) {
    const absl::Status status = snapshots.Prune(policy, [](const snapshot::UsageRecord&) {});
    if (!status.ok()) LogWarning("garbage collection: ", status.message());
  }
}

}  // namespace cachalot::build
