// What is known about one snapshot, in memory and in the metadata database. Memory has the records that somebody needs; rows have all.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
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

struct Record {
  // Never change.
  SnapshotId id;
  std::shared_ptr<Record> parent;
  absl::Time created_at;
  std::int64_t directory = 0;  // its name below <root>/snapshots

  // Guarded by the table's lock.
  State state = State::kActive;
  bool deletes_elsewhere = false;  // its directory has a list of deletions
  bool rebased = false;            // see LayerWalk
  bool kept = false;
  bool persisted = false;     // its row says the same, but for its last use
  bool used_changed = false;  // last use is newer than its row's
  bool removed = false;
  bool seen = false;       // its files, and those below, were there when this process looked
  bool synced = false;     // an active one whose row says that it is on disk as it is, or will be: see store/durability.h
  std::int64_t size = -1;  // -1: not measured yet
  absl::Time used_at = absl::InfinitePast();
  int usage_count = 0;
  Label label;
  int children = 0;
  std::weak_ptr<const Snapshot> reference;
  std::weak_ptr<MountedTree> tree;

  // An empty one if nothing is known.
  const KnownLayer& layer() const;
  // Whether its row will do: nobody uses it and nothing in memory stands on it.
  bool Idle() const;
  // Whether it is `other`, or has that below it.
  bool StandsOn(const Record& other) const;
  void SetLayer(KnownLayer layer) { layer_ = std::make_shared<const KnownLayer>(std::move(layer)); }

 private:
  std::shared_ptr<const KnownLayer> layer_;
};
using RecordPtr = std::shared_ptr<Record>;

// A record as it was read, before it has a place in memory.
struct Row {
  RecordPtr record;
  SnapshotId parent;
};

// The records in memory, and all names. Plain data: the owner guards it with one lock that is never held during I/O.
struct RecordTable {
  absl::flat_hash_map<absl::string_view, RecordPtr> records;  // by their own ids
  absl::flat_hash_map<std::string, SnapshotId> chains;
  absl::flat_hash_map<std::string, SnapshotId> names;
  absl::flat_hash_set<SnapshotId> going;  // removed, while there still are rows of them
  std::int64_t last_directory = 0;
  std::int64_t departures = 0;  // of records from memory: who read rows before one may have read what is no longer so
  int complete = 0;             // how many want every record to stay in memory

  // The record in memory of a layer chain; null when there is none.
  RecordPtr OfChain(const std::string& chain) const;
  void Add(const RecordPtr& record);
  // Adds what is missing of rows that hold all their parents. DATA_LOSS when one has no parent.
  absl::Status Adopt(const std::vector<Row>& rows);
  // Takes the record out; its directory is the caller's then. What named it.
  std::vector<std::string> Remove(const RecordPtr& record);
  // Undoes Remove, when its row could not be deleted.
  void PutBack(const RecordPtr& record, const std::vector<std::string>& its_names);
  // Lets go of idle records, unless every record is to stay.
  void LetGo();
  std::int64_t NewDirectory() { return ++last_directory; }

 private:
  void Drop(const Record& record);
};

// What a layer is found again by: its diff_id over what is below ("" for none).
std::string ChainOf(const std::string& parent_chain, const oci::Digest& diff_id);

// Times as rows keep them: what is shown before a restart and after is the same.
absl::Time Storable(absl::Time time);

// Rows. Each works within the caller's transaction.
absl::StatusOr<RecordTable> LoadTable(store::Connection& connection);  // names and active records
absl::StatusOr<std::vector<Row>> LoadAllRows(store::Connection& connection);
absl::StatusOr<std::vector<Row>> LoadRows(store::Connection& connection, const SnapshotId& id);  // the record and all below; none without it
absl::StatusOr<SnapshotId> FindChain(store::Connection& connection, const std::string& chain);   // "" when there is none
absl::StatusOr<std::vector<std::string>> LoadDirectories(store::Connection& connection);
struct Unmeasured {
  SnapshotId id;
  std::int64_t directory;
};
absl::StatusOr<std::vector<Unmeasured>> LoadUnmeasured(store::Connection& connection);  // committed ones
absl::StatusOr<std::int64_t> SumOfSizes(store::Connection& connection);                 // bytes of all but active ones, with their blobs
absl::Status SaveRecord(store::Connection& connection, const Record& record);
absl::Status SaveLayer(store::Connection& connection, const SnapshotId& id, const std::string& form, const LayerBlob& layer);
absl::Status DeleteRecord(store::Connection& connection, const SnapshotId& id);

}  // namespace cachalot::snapshot
