#include "op/named_trees.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace cachalot::op {

NamedTrees::Lease::~Lease() {
  if (owner_ == nullptr) return;
  snapshot_.reset();
  owner_->Release(*this);
}

absl::StatusOr<std::shared_ptr<snapshot::MountedTree>> NamedTrees::Lease::Mount() {
  std::lock_guard lock(filling_);
  if (std::shared_ptr<snapshot::MountedTree> mounted = mounted_.lock()) return mounted;
  ASSIGN_OR_RETURN(std::shared_ptr<snapshot::MountedTree> mounted, owner_->snapshots_->MountTree(snapshot_, false));
  mounted_ = mounted;
  return mounted;
}

void NamedTrees::Release(const Lease& lease) {
  {
    auto slots = slots_.Lock();
    // A forgotten tree's slot may be somebody else's by now.
    const auto found = slots->find(lease.slot_);
    if (found != slots->end() && found->second.holder == &lease) slots->erase(found);
  }
  slots_.NotifyAll();
}

absl::Status NamedTrees::Forget(const std::string& name) {
  absl::Status forgotten;
  {
    auto slots = slots_.Lock();
    std::erase_if(*slots, [&](const auto& slot) {
      const absl::string_view rest = absl::StripPrefix(slot.first, name);
      return absl::StartsWith(slot.first, name) && (rest.empty() || rest[0] == ':' || rest[0] == '#');
    });
    forgotten = snapshots_->ForgetNames(name);
  }
  slots_.NotifyAll();
  return forgotten;
}

absl::StatusOr<NamedTrees::LeasePtr> NamedTrees::Reserve(const std::string& name, llb::CacheSharing sharing, const CancelToken& cancel) {
  const CancelToken::Registration wake = cancel.OnCancel([this] {
    slots_.Lock();  // so that no waiter is between its look at the token and its sleep
    slots_.NotifyAll();
  });
  auto slots = slots_.Lock();
  for (int number = 0;; ++number) {
    const std::string key = number == 0 ? name : absl::StrCat(name, "#", number);
    auto found = slots->find(key);
    if (found != slots->end() && sharing == llb::CacheSharing::kShared) {
      if (LeasePtr lease = found->second.shared.lock()) return lease;
    }
    if (found != slots->end() && sharing == llb::CacheSharing::kLocked) {
      slots.Wait([&](const Slots& all) { return all.count(key) == 0 || cancel.cancelled(); });
      RETURN_IF_ERROR(cancel.status());
    } else if (found != slots->end()) {
      continue;
    }
    auto lease = std::make_shared<Lease>();
    lease->owner_ = this;
    lease->slot_ = key;
    (*slots)[key] = {lease.get(), sharing == llb::CacheSharing::kShared ? lease : nullptr};
    return lease;
  }
}

absl::Status NamedTrees::Fill(Lease& lease, const snapshot::SnapshotPtr& parent, const snapshot::Label& label) {
  std::lock_guard lock(lease.filling_);
  if (lease.snapshot_ != nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(snapshot::SnapshotPtr snapshot, snapshots_->FindNamed(lease.slot_));
  if (snapshot == nullptr) {
    ASSIGN_OR_RETURN(snapshot, snapshots_->Prepare(parent, label));
    RETURN_IF_ERROR(snapshots_->SetName(snapshot, lease.slot_));
    RETURN_IF_ERROR(snapshots_->Keep(snapshot));
  }
  lease.snapshot_ = std::move(snapshot);
  return absl::OkStatus();
}

absl::StatusOr<NamedTrees::LeasePtr> NamedTrees::Acquire(const std::string& name, llb::CacheSharing sharing, const snapshot::SnapshotPtr& parent,
                                                         const snapshot::Label& label, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(LeasePtr lease, Reserve(name, sharing, cancel));
  RETURN_IF_ERROR(Fill(*lease, parent, label));
  return lease;
}

}  // namespace cachalot::op
