// What is known about one snapshot, in memory and in the metadata database.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "oci/image.h"
#include "snapshot/snapshots.h"
#include "store/database.h"

namespace cachalot::snapshot {

enum class State { kActive = 0, kCommitted = 1, kLazy = 2 };

// A blob that holds a snapshot's own layer.
struct LayerBlob {
  oci::Descriptor descriptor;
  std::vector<std::string> sources;
};

// What is known of a snapshot's own layer once it has travelled or is to travel.
struct KnownLayer {
  std::string chain;
  oci::Digest diff_id;
  std::map<std::string, LayerBlob> blobs;  // by form
};

// There is one for every snapshot on the disk, of which few are in use: small where nothing is known.
struct Record {
  // Never change.
  SnapshotId id;
  std::shared_ptr<Record> parent;
  absl::Time created_at;
  std::int64_t directory = 0;  // its name below <root>/snapshots

  // Guarded by the table's lock.
  State state = State::kActive;
  bool deletes_elsewhere = false;  // its directory has a list of deletions
  bool kept = false;
  bool persisted = false;
  bool used_changed = false;  // last use is newer than its row's
  bool removed = false;
  std::int64_t size = -1;  // -1: not measured yet
  absl::Time used_at = absl::InfinitePast();
  int usage_count = 0;
  Label label;
  int children = 0;
  std::weak_ptr<const Snapshot> reference;
  std::weak_ptr<MountedTree> tree;

  // An empty one if nothing is known.
  const KnownLayer& layer() const;
  // By whichever blob; without a digest if there is none.
  Layer AnyLayer() const;
  void SetLayer(KnownLayer layer) { layer_ = std::make_shared<const KnownLayer>(std::move(layer)); }

 private:
  std::shared_ptr<const KnownLayer> layer_;
};
using RecordPtr = std::shared_ptr<Record>;

// All records. Plain data: the owner guards it with one lock that is never held during I/O.
struct RecordTable {
  absl::flat_hash_map<absl::string_view, RecordPtr> records;  // by their own ids
  absl::flat_hash_map<std::string, SnapshotId> chains;
  absl::flat_hash_map<std::string, SnapshotId> names;
  std::int64_t last_directory = 0;

  void Add(const RecordPtr& record);
  // Takes the record out; its directory is the caller's then.
  void Remove(const RecordPtr& record);
  std::int64_t NewDirectory() { return ++last_directory; }
};

// What a layer is found again by: its diff_id over what is below ("" for none).
std::string ChainOf(const std::string& parent_chain, const oci::Digest& diff_id);

// Times as rows keep them: what is shown before a restart and after is the same.
absl::Time Storable(absl::Time time);

// Rows. Each works within the caller's transaction.
absl::StatusOr<RecordTable> LoadRecords(store::Connection& connection);
absl::Status SaveRecord(store::Connection& connection, const Record& record);
absl::Status SaveLayer(store::Connection& connection, const SnapshotId& id, const std::string& form, const LayerBlob& layer);
absl::Status DeleteRecord(store::Connection& connection, const SnapshotId& id);

}  // namespace cachalot::snapshot
