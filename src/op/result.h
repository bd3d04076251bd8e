// What vertices of the build graph yield: file trees.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"
#include "snapshot/snapshots.h"
#include "solver/solver.h"

namespace cachalot::op {

// A tree as the result of one vertex. Most are committed snapshots. The tree of a local source is an active snapshot instead,
// held read-only and unchanged while the result lives: nobody has to copy 20,000 files that did not change.
class TreeResult : public solver::Result {
 public:
  explicit TreeResult(snapshot::SnapshotPtr snapshot) : snapshot_(std::move(snapshot)) {}
  // A tree in an active snapshot. `hold` keeps others from changing it.
  TreeResult(snapshot::SnapshotPtr active, std::shared_ptr<void> hold) : snapshot_(std::move(active)), hold_(std::move(hold)) {}

  // Null is the empty tree. Fit for reading (Materialize, MountTree read-only, Checksum) only.
  const snapshot::SnapshotPtr& snapshot() const { return snapshot_; }
  // Whether the snapshot is committed: can be a parent, be exported and be remembered.
  bool committed() const { return hold_ == nullptr; }
  // The tree as a committed snapshot. For a local source it is made on first use (files are hard-linked, not copied).
  absl::StatusOr<snapshot::SnapshotPtr> Committed(snapshot::Snapshots& snapshots) const;

 private:
  const snapshot::SnapshotPtr snapshot_;
  const std::shared_ptr<void> hold_;
  mutable std::mutex mutex_;
  mutable snapshot::SnapshotPtr copy_;
};

// The tree in `result`, null for scratch. Every result of this engine is a TreeResult or null.
const snapshot::SnapshotPtr& TreeOf(const solver::ResultPtr& result);
absl::StatusOr<snapshot::SnapshotPtr> CommittedTreeOf(const solver::ResultPtr& result, snapshot::Snapshots& snapshots);

}  // namespace cachalot::op
