// Trees that live on between builds under a name and change: cache mounts and local sources.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/guarded.h"
#include "llb/op.h"
#include "snapshot/snapshots.h"

namespace cachalot::op {

// Who may use which named tree now. A name has slots, each with its own tree: one is enough until two exclusive users meet.
// Thread-safe; outlives its leases.
class NamedTrees {
 public:
  explicit NamedTrees(snapshot::Snapshots* snapshots) : snapshots_(snapshots) {}

  // The use of one active snapshot. Gives it back on destruction; the snapshot stays.
  class Lease {
   public:
    ~Lease();
    const snapshot::SnapshotPtr& snapshot() const { return snapshot_; }
    // The tree for writing: one mount for all users of the lease, for two of them over one directory would not see each other's files.
    absl::StatusOr<std::shared_ptr<snapshot::MountedTree>> Mount();

   private:
    friend class NamedTrees;
    NamedTrees* owner_ = nullptr;
    std::string slot_;
    std::mutex filling_;  // held while the tree is found or made, or mounted
    snapshot::SnapshotPtr snapshot_;
    std::weak_ptr<snapshot::MountedTree> mounted_;
  };
  using LeasePtr = std::shared_ptr<Lease>;

  // A tree of that name. kShared joins other shared users; kPrivate takes one that nobody uses; kLocked waits for the one
  // there is. What does not exist yet is made as a child of `parent`.
  absl::StatusOr<LeasePtr> Acquire(const std::string& name, llb::CacheSharing sharing, const snapshot::SnapshotPtr& parent,
                                   const snapshot::Label& label, const CancelToken& cancel);

  // The trees of that name, and of names that go on after it with ':', are nobody's any more: who asks next gets a new one. Present
  // users keep theirs.
  absl::Status Forget(const std::string& name);

 private:
  struct Slot {
    const Lease* holder;
    std::weak_ptr<Lease> shared;  // set for shared users
  };
  using Slots = std::map<std::string, Slot>;  // those in use
  absl::StatusOr<LeasePtr> Reserve(const std::string& name, llb::CacheSharing sharing, const CancelToken& cancel);
  absl::Status Fill(Lease& lease, const snapshot::SnapshotPtr& parent, const snapshot::Label& label);
  void Release(const Lease& lease);

  snapshot::Snapshots* const snapshots_;
  Guarded<Slots> slots_;
};

}  // namespace cachalot::op
