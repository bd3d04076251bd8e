// Trees made of other trees: LLB merge and diff.
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "snapshot/change_sinks.h"
#include "snapshot/layer_walk.h"
#include "snapshot/local_snapshots.h"

namespace cachalot::snapshot {

namespace {

constexpr std::size_t kMaxDeletions = 256 << 20;

std::vector<SnapshotPtr> ChainOf(const SnapshotPtr& top) {
  std::vector<SnapshotPtr> chain;
  for (SnapshotPtr snapshot = top; snapshot != nullptr; snapshot = snapshot->parent()) chain.insert(chain.begin(), snapshot);
  return chain;
}

// For layers that are made of files which are there.
class NothingToFetch final : public BlobFetcher {
 public:
  absl::Status Fetch(const Layer& layer, store::BlobStore&, const CancelToken&) override {
    return absl::InternalError(absl::StrCat("layer ", layer.blob.digest.str(), " should be there"));
  }
  void OnExtract(const Layer&, bool) override {}
};

}  // namespace

// A tree is its layers in order, so applying trees over each other is stacking all their layers.
absl::StatusOr<SnapshotPtr> LocalSnapshots::Merge(const std::vector<SnapshotPtr>& uppers, const Label& label) {
  SnapshotPtr merged;
  for (const SnapshotPtr& upper : uppers) {
    if (upper == nullptr) continue;
    if (merged == nullptr) {
      merged = upper;  // nothing below: its own layers serve as they are
      continue;
    }
    for (const SnapshotPtr& layer : ChainOf(upper)) {
      ASSIGN_OR_RETURN(merged, Rebase(merged, layer, label));
    }
  }
  return merged;
}

// How to find what a committed snapshot's own layer changes; `base` keeps its parent's tree mounted.
absl::StatusOr<LayerWalk> LocalSnapshots::WalkOf(const RecordPtr& record, std::shared_ptr<MountedTree>* base) {
  LayerWalk walk;
  walk.layer = LayerPath(*record);
  walk.whole = whole_trees();
  bool deletes_elsewhere = false;
  SnapshotPtr parent;
  {
    auto table = table_.Lock();
    deletes_elsewhere = record->deletes_elsewhere;
    walk.rebased = record->rebased;
    if (record->parent != nullptr && !walk.rebased) parent = Refer(record->parent);
  }
  if (deletes_elsewhere) {
    ASSIGN_OR_RETURN(const std::string list, os::ReadFile(DeletionsPath(*record), kMaxDeletions));
    walk.deleted = absl::StrSplit(list, '\0', absl::SkipEmpty());
  }
  if (parent != nullptr) {
    ASSIGN_OR_RETURN(*base, MountTree(parent, true));
    walk.base = (*base)->path();
  }
  return walk;
}

// The layer of one snapshot over another parent.
absl::StatusOr<SnapshotPtr> LocalSnapshots::Rebase(const SnapshotPtr& parent, const SnapshotPtr& layer, const Label& label) {
  const RecordPtr record = RecordOf(layer);
  {
    auto table = table_.Lock();
    if (record->state == State::kActive) return absl::FailedPreconditionError(absl::StrCat("snapshot ", record->id, " is not committed"));
  }
  Layer known = AnyLayer(record);
  // A whole tree can be changed only when its parent's files are there: the layer becomes a blob, unpacked when somebody wants the files.
  if (known.blob.digest.empty() && whole_trees()) {
    NothingToFetch fetcher;
    ASSIGN_OR_RETURN(known, LayerFor(record, {}, /*keep_remote=*/false, fetcher, {}));
  }
  // What travels as a blob need not be looked at: it is unpacked when somebody wants the files.
  if (!known.blob.digest.empty()) return FromLayer(parent, known, label);
  std::shared_ptr<MountedTree> base;
  ASSIGN_OR_RETURN(const LayerWalk walk, WalkOf(record, &base));
  return FromChanges(parent, label, [&](LinkChangeSink& sink) { return WalkLayer(walk, sink, {}); });
}

absl::StatusOr<SnapshotPtr> LocalSnapshots::FromChanges(const SnapshotPtr& parent, const Label& label,
                                                        const std::function<absl::Status(LinkChangeSink&)>& fill, std::vector<std::string> sources) {
  ASSIGN_OR_RETURN(const SnapshotPtr active, Prepare(parent, label));
  const RecordPtr record = RecordOf(active);
  bool below_is_there = true;
  {
    auto table = table_.Lock();
    for (RecordPtr r = record->parent; r != nullptr; r = r->parent) below_is_there &= r->state == State::kCommitted;
  }
  std::optional<std::vector<std::string>> lowers;
  if (below_is_there) lowers = LowerPaths(record->parent);
  LinkChangeSink sink(LayerPath(*record), std::move(lowers), std::move(sources));
  RETURN_IF_ERROR(fill(sink));
  RETURN_IF_ERROR(sink.Finish());
  record->rebased = true;  // nobody else knows the record yet
  if (!sink.deleted().empty()) {
    const std::string list = absl::StrJoin(sink.deleted(), absl::string_view("\0", 1));
    RETURN_IF_ERROR(os::WriteFileAtomic(DeletionsPath(*record), list));
    record->deletes_elsewhere = true;
  }
  return Commit(active);
}

absl::StatusOr<SnapshotPtr> LocalSnapshots::Diff(const SnapshotPtr& lower, const SnapshotPtr& upper, const Label& label, BlobFetcher& fetcher,
                                                 const CancelToken& cancel) {
  if (upper == nullptr && lower == nullptr) return nullptr;
  if (lower == nullptr) return upper;
  if (upper == lower) return nullptr;
  // Upper stands on lower: the difference is the layers between, and stays lazy where they are.
  const std::vector<SnapshotPtr> chain = ChainOf(upper), below = ChainOf(lower);
  if (chain.size() > below.size() && chain[below.size() - 1] == lower) {
    SnapshotPtr difference;
    for (std::size_t i = below.size(); i < chain.size(); ++i) {
      RETURN_IF_ERROR(cancel.status());
      // What changed files under a parent is found by looking at the parent's.
      if (AnyLayer(RecordOf(chain[i])).blob.digest.empty()) RETURN_IF_ERROR(Materialize(chain[i]->parent(), fetcher, cancel));
      ASSIGN_OR_RETURN(difference, Rebase(difference, chain[i], label));
    }
    return difference;
  }
  RETURN_IF_ERROR(Materialize(lower, fetcher, cancel));
  RETURN_IF_ERROR(Materialize(upper, fetcher, cancel));
  ASSIGN_OR_RETURN(const std::shared_ptr<MountedTree> from, MountTree(lower, true));
  ASSIGN_OR_RETURN(const std::shared_ptr<MountedTree> to, MountTree(upper, true));
  bool any = false;
  ASSIGN_OR_RETURN(SnapshotPtr difference, FromChanges(
                                               nullptr, label,
                                               [&](LinkChangeSink& sink) -> absl::Status {
                                                 RETURN_IF_ERROR(WalkDifference(from->path(), to->path(), sink, cancel));
                                                 any = sink.any();
                                                 return absl::OkStatus();
                                               },
                                               upper == nullptr ? std::vector<std::string>() : LowerPaths(RecordOf(upper))));
  return any ? difference : nullptr;
}

}  // namespace cachalot::snapshot
