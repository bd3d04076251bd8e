#include "build/collector.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "base/log.h"

namespace cachalot::build {
namespace {

constexpr std::chrono::minutes kDelay(1);
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

Collector::Collector(snapshot::Snapshots* snapshots, std::vector<snapshot::PrunePolicy> policies)
    : snapshots_(snapshots), policies_(std::move(policies)), thread_([this] { Loop(); }) {}

Collector::~Collector() {
  state_.Lock()->stopping = true;
  state_.NotifyAll();
  thread_.join();
}

void Collector::Ask() {
  state_.Lock()->asked = true;
  state_.NotifyAll();
}

void Collector::Loop() {
  while (true) {
    {
      auto state = state_.Lock();
      state.Wait([](const State& s) { return s.asked || s.stopping; });
      if (state.WaitUntil(std::chrono::steady_clock::now() + kDelay, [](const State& s) { return s.stopping; })) return;
      state->asked = false;
    }
    for (const snapshot::PrunePolicy& policy : policies_) {
      const absl::Status status = snapshots_->Prune(policy, [](const snapshot::UsageRecord&) {});
      if (!status.ok()) LogWarning("garbage collection: ", status.message());
    }
  }
}

}  // namespace cachalot::build
