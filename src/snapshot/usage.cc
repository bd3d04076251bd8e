// Disk usage and pruning.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/parallel.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "os/file.h"
#include "snapshot/local_snapshots.h"
#include "snapshot/usage_filter.h"
#include "tree/path_walk.h"

namespace cachalot::snapshot {

namespace {

constexpr int kHelpers = 3;
constexpr std::size_t kBatch = 64;
constexpr int kMaxDepth = static_cast<int>(tree::kMaxPath / 2);  // what lies deeper has no path, and is not counted

// Adds up what the files of one tree take. A file with links elsewhere counts by its share, so that the sum over all
// snapshots is what the disk has.
class Measurer {
 public:
  std::int64_t Measure(const std::string& root) {
    struct stat status;
    const UniqueFd fd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid() || ::fstat(fd.get(), &status) != 0) return 0;
    total_ = static_cast<std::int64_t>(status.st_blocks) * 512;
    Walk(fd.get(), 0);
    for (const auto& [inode, linked] : linked_) total_ += linked.bytes * linked.seen / linked.links;
    return total_;
  }

 private:
  struct Linked {
    std::int64_t bytes = 0, seen = 0, links = 1;
  };

  // Whatever goes away meanwhile does not count.
  void Walk(int dir_fd, int depth) {
    if (depth > kMaxDepth) return;
    const absl::StatusOr<std::vector<os::DirectoryEntry>> entries = os::ListDirectory(dir_fd);
    if (!entries.ok()) return;
    for (const os::DirectoryEntry& entry : *entries) {
      struct stat status;
      if (::fstatat(dir_fd, entry.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
      const std::int64_t bytes = static_cast<std::int64_t>(status.st_blocks) * 512;
      if (S_ISDIR(status.st_mode)) {
        total_ += bytes;
        const UniqueFd child(::openat(dir_fd, entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (child.valid()) Walk(child.get(), depth + 1);
      } else if (status.st_nlink > 1) {
        Linked& linked = linked_[status.st_ino];
        linked.bytes = bytes;
        linked.links = static_cast<std::int64_t>(status.st_nlink);
        ++linked.seen;
      } else {
        total_ += bytes;
      }
    }
  }

  std::int64_t total_ = 0;
  absl::flat_hash_map<ino_t, Linked> linked_;
};

// How many bytes may stay; 0: all bounds are off, what the filter selects goes.
absl::StatusOr<std::int64_t> BytesToKeep(const PrunePolicy& policy, std::int64_t total, const std::string& root) {
  if (policy.max_used_space == 0 && policy.reserved_space == 0 && policy.min_free_space == 0) return 0;
  std::int64_t keep = policy.max_used_space;
  if (policy.min_free_space != 0) {
    struct statvfs disk;
    if (::statvfs(root.c_str(), &disk) != 0) return ErrnoError(absl::StrCat("statvfs ", root));
    const std::int64_t missing = policy.min_free_space - static_cast<std::int64_t>(disk.f_bfree * disk.f_frsize);
    if (missing > 0) {
      keep = keep == 0 ? total - missing : std::min(keep, total - missing);
    } else if (keep == 0) {
      keep = total;
    }
  }
  return std::max(keep, policy.reserved_space);
}

}  // namespace

absl::Status LocalSnapshots::MeasureAll() {
  struct Item {
    SnapshotId id;
    std::string path;
    bool final = false;  // committed: it will not change
    std::int64_t size = 0;
  };
  std::vector<Item> items;
  RETURN_IF_ERROR(options_.database->Read([&](store::Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(const std::vector<Unmeasured> rows, LoadUnmeasured(connection));
    for (const Unmeasured& row : rows) items.push_back({row.id, absl::StrCat(DirectoryPath(row.directory), "/fs"), /*final=*/true});
    return absl::OkStatus();
  }));
  {
    auto table = table_.Lock();
    for (const auto& [id, record] : table->records) {
      if (record->state == State::kActive && record->reference.expired()) items.push_back({record->id, LayerPath(*record)});
    }
  }
  RETURN_IF_ERROR(ParallelFor(*options_.cpu, kHelpers, items.size(), [&](std::size_t i) {
    items[i].size = Measurer().Measure(items[i].path);
    return absl::OkStatus();
  }));
  {
    auto table = table_.Lock();
    for (const Item& item : items) {
      if (const auto found = table->records.find(item.id); found != table->records.end()) found->second->size = item.size;
    }
  }
  items.erase(std::remove_if(items.begin(), items.end(), [](const Item& item) { return !item.final; }), items.end());
  if (items.empty()) return absl::OkStatus();
  return WriteSetAside([&](store::Connection& connection) -> absl::Status {
    for (const Item& item : items) RETURN_IF_ERROR(connection.Run("UPDATE snapshots SET size = ?2 WHERE id = ?1", item.id, item.size));
    return absl::OkStatus();
  });
}

absl::StatusOr<std::int64_t> LocalSnapshots::MeasuredTotal() {
  std::int64_t total = 0;
  RETURN_IF_ERROR(options_.database->Read([&](store::Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(total, SumOfSizes(connection));
    return absl::OkStatus();
  }));
  auto table = table_.Lock();
  for (const auto& [id, record] : table->records) {
    if (record->state == State::kActive) total += UsageOf(*record).size;
  }
  return total;
}

UsageRecord LocalSnapshots::UsageOf(const Record& record) const {
  UsageRecord usage;
  usage.id = record.id;
  if (record.parent != nullptr) usage.parents.push_back(record.parent->id);
  usage.mutable_ = record.state == State::kActive;
  usage.in_use = !record.reference.expired();
  usage.created_at = record.created_at;
  if (record.used_at != absl::InfinitePast()) usage.last_used_at = record.used_at;
  usage.usage_count = record.usage_count;
  usage.label = record.label;
  if (usage.mutable_ && usage.in_use) return usage;  // its size is changing
  usage.size = std::max<std::int64_t>(record.size, 0);
  for (const auto& [form, layer] : record.layer().blobs) {
    if (const auto size = options_.blobs->Peek(layer.descriptor.digest)) usage.size += *size;
  }
  return usage;
}

absl::StatusOr<std::vector<UsageRecord>> LocalSnapshots::DiskUsage(const std::vector<std::string>& filters) {
  ASSIGN_OR_RETURN(const UsageFilter filter, UsageFilter::Parse(filters));
  std::vector<UsageRecord> records;
  RETURN_IF_ERROR(MeasureAll());
  RETURN_IF_ERROR(WithAllRecords([&]() -> absl::Status {
    auto table = table_.Lock();
    for (const auto& [id, record] : table->records) {
      UsageRecord usage = UsageOf(*record);
      if (filter.Matches(usage)) records.push_back(std::move(usage));
    }
    return absl::OkStatus();
  }));
  return records;
}

std::vector<LocalSnapshots::Candidate> LocalSnapshots::Candidates(const PrunePolicy& policy, const UsageFilter& filter) {
  std::vector<Candidate> candidates;
  const absl::Time now = options_.clock->Now();
  auto table = table_.Lock();
  for (const auto& [id, record] : table->records) {
    if (!record->reference.expired() || record->children > 0) continue;
    if (!policy.all && (record->label.record_type == "internal" || record->label.record_type == "frontend")) continue;
    if (policy.keep_duration > absl::ZeroDuration() && record->used_at > now - policy.keep_duration) continue;
    UsageRecord usage = UsageOf(*record);
    if (filter.Matches(usage)) candidates.push_back({record, std::move(usage)});
  }
  return candidates;
}

// Rarely used ones before often used ones, old before new: the sum of both ranks decides.
void LocalSnapshots::SortForCollection(std::vector<Candidate>& candidates) {
  std::map<absl::Time, double> times;
  std::map<int, double> counts;
  for (const Candidate& c : candidates) {
    times[c.record->used_at] = 0;
    counts[c.usage.usage_count] = 0;
  }
  double rank = 0;
  for (auto& [time, value] : times) value = ++rank / static_cast<double>(times.size());
  rank = 0;
  for (auto& [count, value] : counts) value = ++rank / static_cast<double>(counts.size());
  std::stable_sort(candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) {
    return times[a.usage.last_used_at.value_or(absl::InfinitePast())] + counts[a.usage.usage_count] <
           times[b.usage.last_used_at.value_or(absl::InfinitePast())] + counts[b.usage.usage_count];
  });
}

absl::StatusOr<std::vector<UsageRecord>> LocalSnapshots::Delete(const std::vector<Candidate>& candidates, std::vector<oci::Digest>* dropped) {
  std::vector<UsageRecord> deleted;
  std::vector<std::pair<RecordPtr, std::vector<std::string>>> removed;  // with their names
  std::vector<std::int64_t> directories;
  {
    auto table = table_.Lock();
    for (const Candidate& candidate : candidates) {
      const RecordPtr& record = candidate.record;
      if (record->removed || !record->reference.expired() || record->children > 0) continue;
      removed.emplace_back(record, table->Remove(record));
      deleted.push_back(candidate.usage);
      directories.push_back(record->directory);
      for (const auto& [form, layer] : record->layer().blobs) dropped->push_back(layer.descriptor.digest);
    }
  }
  const absl::Status written = WriteSetAside([&](store::Connection& connection) -> absl::Status {
    for (const UsageRecord& usage : deleted) RETURN_IF_ERROR(DeleteRecord(connection, usage.id));
    return absl::OkStatus();
  });
  if (!written.ok()) {
    auto table = table_.Lock();
    for (const auto& [record, names] : removed) table->PutBack(record, names);
    return written;
  }
  {
    auto table = table_.Lock();
    for (const UsageRecord& usage : deleted) table->going.erase(usage.id);
    ++table->departures;
  }
  for (const UsageRecord& usage : deleted) checksums_.Forget(usage.id);
  Condemn(directories);
  return deleted;
}

absl::Status LocalSnapshots::Shrink(const PrunePolicy& policy, const UsageFilter& filter, std::int64_t total, std::int64_t keep,
                                    const std::function<void(const UsageRecord&)>& on_deleted, std::vector<oci::Digest>* dropped) {
  // A round deletes what nothing stands on; the next one sees what that uncovered.
  while (keep == 0 || total >= keep) {
    std::vector<Candidate> candidates = Candidates(policy, filter);
    std::size_t count = std::min(candidates.size(), kBatch);
    if (keep != 0) {
      SortForCollection(candidates);
      std::int64_t left = total;
      const std::size_t limit = candidates.size() / 8 + 1;  // then what was uncovered competes with the rest
      for (count = 0; count < std::min(limit, candidates.size()) && left >= keep; ++count) left -= candidates[count].usage.size;
    }
    candidates.resize(count);
    ASSIGN_OR_RETURN(const std::vector<UsageRecord> deleted, Delete(candidates, dropped));
    if (deleted.empty()) break;
    for (const UsageRecord& usage : deleted) {
      total -= usage.size;
      if (on_deleted != nullptr) on_deleted(usage);
    }
  }
  return absl::OkStatus();
}

absl::Status LocalSnapshots::Prune(const PrunePolicy& policy, const std::function<void(const UsageRecord&)>& on_deleted) {
  ASSIGN_OR_RETURN(const UsageFilter filter, UsageFilter::Parse(policy.filters));
  RETURN_IF_ERROR(MeasureAll());
  ASSIGN_OR_RETURN(const std::int64_t total, MeasuredTotal());
  ASSIGN_OR_RETURN(const std::int64_t keep, BytesToKeep(policy, total, root_));
  std::vector<oci::Digest> dropped;
  if (keep == 0 || total >= keep) {
    RETURN_IF_ERROR(WithAllRecords([&] { return Shrink(policy, filter, total, keep, on_deleted, &dropped); }));
  }
  DiscardCondemned();
  EmptyTrash(/*whole=*/true);
  return options_.blobs->Collect(kBlobGrace, dropped).status();
}

}  // namespace cachalot::snapshot
