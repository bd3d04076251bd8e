// The checksum trees of the snapshots in use lately, and their values in the metadata database.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/guarded.h"
#include "snapshot/checksum_tree.h"
#include "store/database.h"

namespace cachalot::snapshot {

// Thread-safe. Bounded by the number of nodes of all trees.
class ChecksumCache {
 public:
  explicit ChecksumCache(store::Database* database) : database_(database) {}

  // A tree with the lock that its user holds.
  struct Slot {
    std::mutex mutex;
    std::unique_ptr<ChecksumTree> tree;
    std::size_t saved = 0;        // tree->hashed() when it was saved last
    std::size_t noted = 0;        // directories that were noted as changed since then
    std::int64_t unfinished = 0;  // changes since then of which the end is not known: the tree may be wrong anywhere
  };
  // The tree of a snapshot: from memory, from the database, or an empty one. One that is not immutable is never taken for one
  // that is.
  absl::StatusOr<std::shared_ptr<Slot>> Get(const std::string& snapshot, bool immutable);
  // Call after use, with the slot's lock held: saves the tree when much was computed.
  absl::Status Used(const std::string& snapshot, bool immutable, Slot& slot);
  // See Snapshots. What is in the database always has the changes since it was saved beside it.
  absl::Status BeginChanges(const std::string& snapshot);
  absl::Status EndChanges(const std::string& snapshot, const std::vector<std::string>* directories);
  void Forget(const std::string& snapshot);

 private:
  struct Cache {
    std::list<std::string> order;  // most recently used first
    struct Entry {
      std::shared_ptr<Slot> slot;
      std::list<std::string>::iterator place;
      std::size_t nodes = 0;
    };
    absl::flat_hash_map<std::string, Entry> entries;
    std::size_t nodes = 0;
  };

  std::shared_ptr<Slot> Find(const std::string& key);  // null when it is not in memory
  absl::StatusOr<std::shared_ptr<Slot>> Load(const std::string& snapshot, bool immutable);

  store::Database* const database_;
  Guarded<Cache> cache_;
};

}  // namespace cachalot::snapshot
