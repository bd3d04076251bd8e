#include "snapshot/checksum_cache.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace cachalot::snapshot {

namespace {

constexpr std::size_t kMaxNodes = 100'000;
constexpr std::size_t kWorthSaving = 200;

// A snapshot that was committed has another tree than it had before.
std::string KeyOf(const std::string& snapshot, bool immutable) { return absl::StrCat(immutable ? "committed/" : "active/", snapshot); }

}  // namespace

std::shared_ptr<ChecksumCache::Slot> ChecksumCache::Find(const std::string& key) {
  auto cache = cache_.Lock();
  const auto found = cache->entries.find(key);
  if (found == cache->entries.end()) return nullptr;
  cache->order.splice(cache->order.begin(), cache->order, found->second.place);
  return found->second.slot;
}

absl::StatusOr<std::shared_ptr<ChecksumCache::Slot>> ChecksumCache::Load(const std::string& snapshot, bool immutable) {
  std::string value, noted;
  std::int64_t unfinished = 0;
  RETURN_IF_ERROR(database_->Read([&](store::Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(store::Statement query, connection.Prepare("SELECT tree, noted, unfinished FROM snapshot_checksums WHERE snapshot = ?1"));
    query.Bind(snapshot);
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) return absl::OkStatus();
    value = query.Text(0);
    noted = query.Text(1);
    unfinished = query.Int(2);
    return absl::OkStatus();
  }));
  auto slot = std::make_shared<Slot>();
  slot->tree = ChecksumTree::Parse(value, immutable);
  std::vector<std::string> directories = absl::StrSplit(noted, '\0');
  directories.pop_back();  // behind the last NUL
  slot->tree->NoteChanges(&directories);
  slot->noted = directories.size();
  slot->unfinished = unfinished;
  return slot;
}

absl::StatusOr<std::shared_ptr<ChecksumCache::Slot>> ChecksumCache::Get(const std::string& snapshot, bool immutable) {
  const std::string key = KeyOf(snapshot, immutable);
  if (std::shared_ptr<Slot> slot = Find(key); slot != nullptr) return slot;
  ASSIGN_OR_RETURN(std::shared_ptr<Slot> slot, Load(snapshot, immutable));
  auto cache = cache_.Lock();
  auto [entry, inserted] = cache->entries.try_emplace(key);
  if (inserted) {
    cache->order.push_front(key);
    entry->second.slot = slot;
    entry->second.place = cache->order.begin();
  }
  return entry->second.slot;
}

absl::Status ChecksumCache::Used(const std::string& snapshot, bool immutable, Slot& slot) {
  const std::string key = KeyOf(snapshot, immutable);
  {
    auto cache = cache_.Lock();
    if (const auto found = cache->entries.find(key); found != cache->entries.end()) {
      cache->nodes += slot.tree->nodes() - found->second.nodes;
      found->second.nodes = slot.tree->nodes();
    }
    while (cache->nodes > kMaxNodes && cache->order.size() > 1) {
      const auto last = cache->entries.find(cache->order.back());
      cache->nodes -= last->second.nodes;
      cache->entries.erase(last);
      cache->order.pop_back();
    }
  }
  if (slot.unfinished == 0 && slot.tree->hashed() + slot.noted < slot.saved + kWorthSaving) return absl::OkStatus();
  slot.saved = slot.tree->hashed();
  slot.noted = 0;
  slot.unfinished = 0;
  const std::string value = slot.tree->Serialize();
  return database_->Write([&](store::Connection& connection) {
    return connection.Run("INSERT OR REPLACE INTO snapshot_checksums (snapshot, tree) VALUES (?1, ?2)", snapshot, store::Bytes{value});
  });
}

absl::Status ChecksumCache::BeginChanges(const std::string& snapshot) {
  if (const std::shared_ptr<Slot> slot = Find(KeyOf(snapshot, false)); slot != nullptr) {
    std::lock_guard lock(slot->mutex);
    ++slot->unfinished;
  }
  return database_->Write([&](store::Connection& connection) {
    return connection.Run("UPDATE snapshot_checksums SET unfinished = unfinished + 1 WHERE snapshot = ?1", snapshot);
  });
}

absl::Status ChecksumCache::EndChanges(const std::string& snapshot, const std::vector<std::string>* directories) {
  if (directories == nullptr) return absl::OkStatus();  // stays unfinished
  if (const std::shared_ptr<Slot> slot = Find(KeyOf(snapshot, false)); slot != nullptr) {
    std::lock_guard lock(slot->mutex);
    slot->tree->NoteChanges(directories);
    slot->noted += directories->size();
    --slot->unfinished;
  }
  std::string noted;
  for (const std::string& directory : *directories) absl::StrAppend(&noted, directory, absl::string_view("\0", 1));
  return database_->Write([&](store::Connection& connection) {
    return connection.Run("UPDATE snapshot_checksums SET unfinished = unfinished - 1, noted = CAST(noted || ?2 AS BLOB) WHERE snapshot = ?1",
                          snapshot, store::Bytes{noted});
  });
}

void ChecksumCache::Forget(const std::string& snapshot) {
  auto cache = cache_.Lock();
  for (bool immutable : {false, true}) {
    const auto found = cache->entries.find(KeyOf(snapshot, immutable));
    if (found == cache->entries.end()) continue;
    cache->nodes -= found->second.nodes;
    cache->order.erase(found->second.place);
    cache->entries.erase(found);
  }
}

}  // namespace cachalot::snapshot
