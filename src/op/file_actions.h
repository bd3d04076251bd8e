// The actions of one file operation at work.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "llb/op.h"
#include "op/attributes.h"
#include "op/source_tree.h"
#include "op/tree_writer.h"
#include "snapshot/snapshots.h"
#include "solver/solver.h"

namespace cachalot::op {

// Runs the actions as their indexes say. A chain of actions works in one snapshot; what is an output, is read by another
// action, or is continued twice, gets one of its own. Inputs are materialized.
class FileActions {
 public:
  FileActions(snapshot::Snapshots& snapshots, const llb::FileOp& op, const std::vector<solver::ResultPtr>& inputs, std::string description,
              CancelToken cancel);
  absl::StatusOr<std::vector<solver::ResultPtr>> Run();
  // After a failure, one result per action: the tree that the failed one worked in, as it left it, and the tree that it read from when
  // that is another action's. Null for all others.
  std::vector<solver::ResultPtr> CommitFailed();

 private:
  // A tree that is still changed.
  struct Work {
    snapshot::SnapshotPtr active;
    std::unique_ptr<TreeWriter> writer;
  };
  // What an index stands for: a result, or work that no other index uses.
  struct Value {
    bool done = false;
    solver::ResultPtr result;
    std::unique_ptr<Work> work;
  };

  absl::Status CountUses();
  absl::Status Evaluate(int action);
  absl::Status EvaluateInputs(int action);
  absl::StatusOr<std::unique_ptr<Work>> Begin(int index);
  absl::Status Apply(const llb::FileAction& action, Work& work);
  absl::StatusOr<solver::ResultPtr> Commit(std::unique_ptr<Work> work);
  absl::StatusOr<std::optional<Owner>> FindOwner(const llb::Chown& chown, Work& work);
  absl::StatusOr<std::optional<Owner>> LookUp(const llb::UserRef& user, const std::string& file, Work& work);

  snapshot::Snapshots& snapshots_;
  const llb::FileOp& op_;
  const int input_count_;
  const std::string description_;
  const CancelToken cancel_;
  std::vector<Value> values_;  // inputs, then actions
  std::vector<int> uses_;      // of each; outputs and readers count twice
  int failed_ = -1;            // the action, and its work
  std::unique_ptr<Work> failed_work_;
};

// The single actions, on paths as the client gave them.
absl::Status MakeDirectoryAction(const llb::FileMkdir& mkdir, const std::optional<Owner>& owner, TreeWriter& tree);
absl::Status MakeFileAction(const llb::FileMkfile& mkfile, const std::optional<Owner>& owner, TreeWriter& tree);
absl::Status MakeSymlinkAction(const llb::FileSymlink& symlink, const std::optional<Owner>& owner, TreeWriter& tree);
absl::Status RemoveAction(const llb::FileRm& rm, TreeWriter& tree);
absl::Status CopyAction(const llb::FileCopy& copy, const std::optional<Owner>& owner, SourceTree& from, TreeWriter& tree, const CancelToken& cancel);
// Unpacks `source` into `destination` when it is an archive (plain or compressed tar); false when it is not.
absl::StatusOr<bool> UnpackAction(SourceTree& from, const std::string& source, TreeWriter& tree, const std::string& destination,
                                  const std::optional<Owner>& owner, std::optional<struct timespec> time, const CancelToken& cancel);

// The entry of `name` in the text of an /etc/passwd ("user") or /etc/group file; nothing when there is none.
std::optional<Owner> FindInUserFile(absl::string_view text, absl::string_view name, bool group);

}  // namespace cachalot::op
