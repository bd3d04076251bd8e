#include "snapshot/local_snapshots.h"
namespace cachalot::snapshot {
absl::StatusOr<SnapshotPtr> LocalSnapshots::Merge(const std::vector<SnapshotPtr>&, const Label&) { return absl::UnimplementedError("merge"); }
absl::StatusOr<SnapshotPtr> LocalSnapshots::Diff(const SnapshotPtr&, const SnapshotPtr&, const Label&, BlobFetcher&, const CancelToken&) { return absl::UnimplementedError("diff"); }
absl::StatusOr<std::vector<UsageRecord>> LocalSnapshots::DiskUsage(const std::vector<std::string>&) { return absl::UnimplementedError("du"); }
absl::Status LocalSnapshots::Prune(const PrunePolicy&, const std::function<void(const UsageRecord&)>&) { return absl::UnimplementedError("prune"); }
}
