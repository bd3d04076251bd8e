// The mounts of a container: which trees, directories, secrets and sockets it sees, and what becomes of them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "op/environment.h"
#include "op/fixed_path.h"
#include "op/named_trees.h"
#include "runtime/runtime.h"
#include "session/session.h"

namespace cachalot::op {

// Drops the cache mounts that `op` names, for an operation that is to ignore its cache: whoever mounts them next finds them empty.
absl::Status ForgetCacheMounts(const llb::ExecOp& op, NamedTrees& trees);

// Prepared for one container. Destruction unmounts, and drops what was not committed.
class ExecMounts {
 public:
  // `description` is for the records of what changes.
  ExecMounts(const Environment& environment, std::string description) : environment_(environment), description_(std::move(description)) {}
  ~ExecMounts();
  ExecMounts(const ExecMounts&) = delete;

  // Inputs are materialized. Destinations may be relative to `cwd`.
  absl::Status Prepare(const std::vector<llb::Mount>& mounts, const std::string& cwd, const std::vector<solver::ResultPtr>& inputs,
                       const CancelToken& cancel);
  // Ends the use of the mounts and commits what changed: one result per output.
  absl::StatusOr<std::vector<solver::ResultPtr>> CommitOutputs();
  // The same after a failure: one result per mount, with what was written there or, for caches, its input. Null for what has no tree.
  // They go with whoever looks into them.
  std::vector<solver::ResultPtr> CommitFailed();

  // The directory with the tree of a mount, by its index: without the mount's selector, and empty when it has none.
  std::string DirectoryOf(int mount) const;
  const std::string& rootfs() const { return rootfs_; }
  bool readonly_rootfs() const { return readonly_rootfs_; }
  const std::vector<runtime::MountPoint>& points() const { return points_; }

 private:
  struct Tree {
    int mount;  // its index
    bool is_output;
    solver::ResultPtr unchanged;   // the input itself, or
    snapshot::SnapshotPtr active;  // what was written
    std::string directory;
  };
  absl::Status Add(const llb::Mount& mount, int index, const solver::ResultPtr& input, const CancelToken& cancel);
  absl::Status AddTree(const llb::Mount& mount, Tree& tree, const solver::ResultPtr& input);
  absl::StatusOr<std::string> CacheKeyOf(const llb::Mount& mount, const solver::ResultPtr& input);
  absl::Status AcquireCaches(const std::vector<llb::Mount>& mounts, const std::vector<solver::ResultPtr>& inputs, const CancelToken& cancel);
  absl::Status AddCache(const llb::Mount& mount, Tree& tree, const solver::ResultPtr& input);
  void AddTmpfs(const llb::Mount& mount);
  absl::Status AddSecret(const llb::Mount& mount, const CancelToken& cancel);
  absl::Status AddSsh(const llb::Mount& mount, const CancelToken& cancel);
  absl::Status AddBind(const llb::Mount& mount, const std::string& directory);
  absl::StatusOr<snapshot::SnapshotPtr> NewActive(const llb::Mount& mount, const solver::ResultPtr& parent);
  absl::StatusOr<solver::ResultPtr> Commit(const Tree& tree);
  std::string DestinationOf(const llb::Mount& mount) const;
  void Unmount();

  const Environment& environment_;
  const std::string description_;
  std::string cwd_;
  std::size_t count_ = 0;  // of mounts
  std::string rootfs_;
  bool readonly_rootfs_ = false;
  std::vector<runtime::MountPoint> points_;
  std::vector<Tree> trees_;
  std::vector<std::shared_ptr<snapshot::MountedTree>> mounted_;
  std::map<std::string, NamedTrees::LeasePtr> caches_;  // by key
  std::vector<std::unique_ptr<FixedPath>> fixed_;       // what selectors chose
  std::vector<std::unique_ptr<session::Session::SshSocket>> sockets_;
  std::string secrets_dir_;  // a tmpfs
  int secret_count_ = 0;
};

}  // namespace cachalot::op
