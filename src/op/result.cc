#include "op/result.h"

#include "base/status.h"
#include "base/status_macros.h"
#include "op/copier.h"

namespace cachalot::op {

absl::StatusOr<snapshot::SnapshotPtr> TreeResult::Committed(snapshot::Snapshots& snapshots) const {
  if (committed()) return snapshot_;
  std::lock_guard lock(mutex_);
  if (copy_ != nullptr) return copy_;
  snapshot::Label label;
  label.description = "local source";
  ASSIGN_OR_RETURN(const snapshot::SnapshotPtr active, snapshots.Prepare(nullptr, label));
  ASSIGN_OR_RETURN(const std::unique_ptr<SourceTree> source, SourceTree::Open(snapshots, snapshot_));
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<TreeWriter> target, TreeWriter::Open(snapshots, active));
    CopyRules rules;
    rules.directory_contents = true;
    RETURN_IF_ERROR(Annotate(Copier(*source, *target, std::move(rules), {}).Copy("/", "/"), "copy of a local source"));
  }
  ASSIGN_OR_RETURN(copy_, snapshots.Commit(active));
  return copy_;
}

const snapshot::SnapshotPtr& TreeOf(const solver::ResultPtr& result) {
  static const snapshot::SnapshotPtr kScratch;
  const auto* tree = static_cast<const TreeResult*>(result.get());
  return tree == nullptr ? kScratch : tree->snapshot();
}

absl::StatusOr<snapshot::SnapshotPtr> CommittedTreeOf(const solver::ResultPtr& result, snapshot::Snapshots& snapshots) {
  const auto* tree = static_cast<const TreeResult*>(result.get());
  if (tree == nullptr) return snapshot::SnapshotPtr();
  return tree->Committed(snapshots);
}

}  // namespace cachalot::op
