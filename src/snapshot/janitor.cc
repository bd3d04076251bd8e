// What happens on the side: emptying the trash, marking things durable, saving when they were used.
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <mutex>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "snapshot/local_snapshots.h"
#include "store/durability.h"

namespace cachalot::snapshot {

namespace {

constexpr std::chrono::seconds kPeriod(30);
constexpr std::chrono::seconds kPause(5);
constexpr std::chrono::minutes kLongestVolatile(5);
constexpr std::int64_t kShort = 256 << 20;  // free bytes

}  // namespace

// At the start: whatever no record names belongs to a process that is gone.
absl::Status LocalSnapshots::SweepLeftovers() {
  const std::string mounts = absl::StrCat(root_, "/mounts");
  ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> mounted, os::ListDirectory(mounts));
  for (const os::DirectoryEntry& entry : mounted) {
    const std::string path = absl::StrCat(mounts, "/", entry.name);
    RETURN_IF_ERROR(os::Unmount(path));
    ::rmdir(path.c_str());
  }
  ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> directories, os::ListDirectory(absl::StrCat(root_, "/snapshots")));
  absl::flat_hash_set<std::string> known = {"trash", "empty"};
  RETURN_IF_ERROR(options_.database->Read([&](store::Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(const std::vector<std::string> named, LoadDirectories(connection));
    known.insert(named.begin(), named.end());
    return absl::OkStatus();
  }));
  std::vector<std::string> unknown;
  for (const os::DirectoryEntry& entry : directories) {
    if (!known.contains(entry.name)) unknown.push_back(entry.name);
  }
  // A row may have been deleted by a process that was killed then.
  if (!unknown.empty()) RETURN_IF_ERROR(options_.database->Sync());
  for (const std::string& name : unknown) Discard(name);
  // Mounts of trees that go on being written (caches) come again and again.
  std::vector<std::string> written;
  {
    auto table = table_.Lock();
    for (const auto& [id, record] : table->records) {
      if (record->state == State::kActive) written.push_back(DirectoryPath(record->directory));
    }
  }
  for (const std::string& directory : written) {
    const auto entries = os::ListDirectory(directory);
    for (const os::DirectoryEntry& entry : entries.value_or(std::vector<os::DirectoryEntry>())) {
      if (absl::StartsWith(entry.name, "work")) RETURN_IF_ERROR(os::RemoveTree(absl::StrCat(directory, "/", entry.name)));
    }
  }
  janitor_state_.Lock()->trash = true;  // an earlier process may have left some
  if (ShortOfSpace()) EmptyTrash(/*whole=*/true);
  return absl::OkStatus();
}

void LocalSnapshots::Discard(const absl::AlphaNum& directory) {
  const std::string from = DirectoryPath(directory), to = absl::StrCat(root_, "/snapshots/trash/", directory, "-", ++last_number_, "-", ::getpid());
  if (::rename(from.c_str(), to.c_str()) != 0) {
    if (errno == ENOENT) return;
    LogWarning(ErrnoError(absl::StrCat("rename ", from, " to ", to)).message());
    if (absl::Status status = os::RemoveTree(from); !status.ok()) LogError(status.message());
    return;
  }
  if (ShortOfSpace()) return EmptyTrash(/*whole=*/true);
  janitor_state_.Lock()->trash = true;
  janitor_state_.NotifyAll();
}

void LocalSnapshots::Condemn(const std::vector<std::int64_t>& directories) {
  {
    auto state = janitor_state_.Lock();
    state->condemned.insert(state->condemned.end(), directories.begin(), directories.end());
  }
  janitor_state_.NotifyAll();
}

void LocalSnapshots::DiscardCondemned() {
  std::lock_guard lock(condemned_mutex_);  // who comes second finds them in the trash
  std::vector<std::int64_t> directories;
  directories.swap(janitor_state_.Lock()->condemned);
  if (directories.empty()) return;
  if (const absl::Status status = options_.database->Sync(); !status.ok()) return LogWarning(status.message());
  for (const std::int64_t directory : directories) Discard(directory);
}

bool LocalSnapshots::ShortOfSpace() const {
  struct statvfs disk;
  if (options_.database->short_of_room()) return true;
  if (::statvfs(root_.c_str(), &disk) != 0) return false;
  const auto block = static_cast<std::int64_t>(disk.f_frsize);
  const std::int64_t bytes = static_cast<std::int64_t>(disk.f_blocks) * block, free = static_cast<std::int64_t>(disk.f_bavail) * block;
  return free < std::min(bytes / 8, kShort);
}

void LocalSnapshots::EmptyTrash(bool whole) {
  std::lock_guard lock(trash_mutex_);
  if (whole) {
    // Files stay on the disk while they are in a mounted tree.
    std::promise<void> unmounted;
    unmounts_.Run([&] { unmounted.set_value(); });
    unmounted.get_future().wait();
  }
  const std::string trash = absl::StrCat(root_, "/snapshots/trash");
  const auto entries = os::ListDirectory(trash);
  if (!entries.ok()) return;
  for (const os::DirectoryEntry& entry : *entries) {
    if (!whole && janitor_state_.Lock()->stopping) return;  // the next process goes on
    if (absl::Status status = os::RemoveTree(absl::StrCat(trash, "/", entry.name)); !status.ok()) LogWarning(status.message());
  }
}

absl::Status LocalSnapshots::ReleaseMemory() {
  options_.blobs->ForgetQuestions(std::chrono::steady_clock::now() - kBlobGrace);
  return SaveUse();
}

absl::Status LocalSnapshots::SaveUse() {
  std::vector<Record> used;
  {
    auto table = table_.Lock();
    for (auto& [id, record] : table->records) {
      if (!record->persisted || !record->used_changed) continue;
      record->used_changed = false;
      Record copy;
      copy.id = record->id;
      copy.used_at = record->used_at;
      copy.usage_count = record->usage_count;
      used.push_back(std::move(copy));
    }
  }
  if (!used.empty()) {
    const absl::Status saved = WriteSetAside([&](store::Connection& connection) -> absl::Status {
      for (const Record& record : used) {
        RETURN_IF_ERROR(connection.Run("UPDATE snapshots SET used_us = ?2, usage_count = ?3 WHERE id = ?1", record.id,
                                       absl::ToUnixMicros(record.used_at), record.usage_count));
      }
      return absl::OkStatus();
    });
    if (!saved.ok()) {
      auto table = table_.Lock();
      for (const Record& record : used) {
        if (const auto found = table->records.find(record.id); found != table->records.end()) found->second->used_changed = true;
      }
      return saved;
    }
  }
  table_.Lock()->LetGo();
  return absl::OkStatus();
}

void LocalSnapshots::JanitorLoop() {
  auto deadline = std::chrono::steady_clock::now() + kPeriod;
  auto durable_at = std::chrono::steady_clock::now();
  while (true) {
    {
      auto state = janitor_state_.Lock();
      state.WaitUntil(deadline, [](const Janitor& j) { return j.stopping || j.trash || !j.condemned.empty(); });
      if (state->stopping) return;
    }
    DiscardCondemned();
    if (std::exchange(janitor_state_.Lock()->trash, false)) EmptyTrash(/*whole=*/false);
    if (std::chrono::steady_clock::now() < deadline) continue;
    deadline = std::chrono::steady_clock::now() + kPeriod;
    const auto now = std::chrono::steady_clock::now();
    const bool sync = options_.database->IdleTime() > kPause || now > durable_at + kLongestVolatile;
    absl::Status status = SaveUse();
    if (sync) {
      if (status.ok()) status = store::MarkDurable(*options_.database, root_);
      durable_at = now;
    }
    if (status.ok()) status = options_.blobs->Collect(kBlobGrace).status();
    if (!status.ok()) LogWarning(status.message());
  }
}

}  // namespace cachalot::snapshot
