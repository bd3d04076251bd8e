#include "op/tree_ops.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "op/cache_digest.h"
#include "op/layer_fetcher.h"
#include "op/result.h"

namespace cachalot::op {
namespace {

absl::StatusOr<snapshot::SnapshotPtr> InputTree(const std::vector<solver::ResultPtr>& inputs, int index, snapshot::Snapshots& snapshots) {
  if (index < 0) return snapshot::SnapshotPtr();
  if (index >= static_cast<int>(inputs.size())) return absl::InvalidArgumentError(absl::StrCat("invalid input index ", index));
  return CommittedTreeOf(inputs[index], snapshots);
}

}  // namespace

absl::StatusOr<solver::CacheMap> MergeOperation::DescribeCache(const solver::OpContext&) {
  solver::CacheMap map;
  map.op_digest = MergeOpDigest(std::get<llb::MergeOp>(vertex_->op));
  map.inputs.resize(vertex_->inputs.size());
  return map;
}

absl::StatusOr<std::string> MergeOperation::ContentDigest(int, const solver::ResultPtr&, const solver::OpContext&) {
  return absl::InternalError("a merge does not read its inputs");
}

absl::StatusOr<std::vector<solver::ResultPtr>> MergeOperation::Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) {
  snapshot::Snapshots& snapshots = *environment_->parts.snapshots;
  std::vector<snapshot::SnapshotPtr> trees;
  for (const int index : std::get<llb::MergeOp>(vertex_->op).inputs) {
    ASSIGN_OR_RETURN(snapshot::SnapshotPtr tree, InputTree(inputs, index, snapshots));
    if (tree == nullptr) continue;
    RETURN_IF_ERROR(snapshots.Materialize(tree, *environment_->layers, context.cancel));
    trees.push_back(std::move(tree));
  }
  if (trees.empty()) return std::vector<solver::ResultPtr>{std::make_shared<TreeResult>(nullptr)};
  if (trees.size() == 1) return std::vector<solver::ResultPtr>{std::make_shared<TreeResult>(trees[0])};
  snapshot::Label label;
  label.description = vertex_->Name();
  ASSIGN_OR_RETURN(snapshot::SnapshotPtr merged, snapshots.Merge(trees, label));
  return std::vector<solver::ResultPtr>{std::make_shared<TreeResult>(std::move(merged))};
}

absl::StatusOr<solver::CacheMap> DiffOperation::DescribeCache(const solver::OpContext&) {
  solver::CacheMap map;
  map.op_digest = DiffOpDigest(std::get<llb::DiffOp>(vertex_->op));
  map.inputs.resize(vertex_->inputs.size());
  return map;
}

absl::StatusOr<std::string> DiffOperation::ContentDigest(int, const solver::ResultPtr&, const solver::OpContext&) {
  return absl::InternalError("a diff does not digest its inputs");
}

absl::StatusOr<std::vector<solver::ResultPtr>> DiffOperation::Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) {
  const auto& op = std::get<llb::DiffOp>(vertex_->op);
  snapshot::Snapshots& snapshots = *environment_->parts.snapshots;
  ASSIGN_OR_RETURN(const snapshot::SnapshotPtr lower, InputTree(inputs, op.lower, snapshots));
  ASSIGN_OR_RETURN(const snapshot::SnapshotPtr upper, InputTree(inputs, op.upper, snapshots));
  const bool same = lower == upper || (lower != nullptr && upper != nullptr && lower->id() == upper->id());
  if (same) return std::vector<solver::ResultPtr>{std::make_shared<TreeResult>(nullptr)};
  if (lower == nullptr) return std::vector<solver::ResultPtr>{std::make_shared<TreeResult>(upper)};
  snapshot::Label label;
  label.description = vertex_->Name();
  ASSIGN_OR_RETURN(snapshot::SnapshotPtr changes, snapshots.Diff(lower, upper, label, *environment_->layers, context.cancel));
  return std::vector<solver::ResultPtr>{std::make_shared<TreeResult>(std::move(changes))};
}

}  // namespace cachalot::op
