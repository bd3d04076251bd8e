// Mounts of snapshots.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "snapshot/local_snapshots.h"

namespace cachalot::snapshot {

namespace {

std::string JoinEscaped(const std::vector<std::string>& paths) {
  return absl::StrJoin(paths, ":", [](std::string* out, const std::string& path) { out->append(os::EscapeOverlayPath(path)); });
}

}  // namespace

// A tree at a path, mounted there unless it is a plain directory. Unmounted a little after the last use; overlayfs's directory goes with
// the mount.
class LocalSnapshots::Mounted final : public MountedTree {
 public:
  // `unmounts` is null for a directory that is not mounted; `work` is empty for a mount that is not written.
  Mounted(std::string path, std::string work, WorkerPool* unmounts, SnapshotPtr hold)
      : path_(std::move(path)), work_(std::move(work)), unmounts_(unmounts), hold_(std::move(hold)) {}
  ~Mounted() override {
    if (unmounts_ == nullptr) return;
    unmounts_->Run([path = path_, work = work_] {
      absl::Status status = os::Unmount(path);
      if (status.ok()) {
        ::rmdir(path.c_str());
        if (!work.empty()) status = os::RemoveTree(work);
      }
      if (!status.ok() && !absl::IsNotFound(status)) LogError(status.message());  // its snapshot may be gone already
    });
  }
  const std::string& path() const override { return path_; }

 private:
  const std::string path_, work_;
  WorkerPool* const unmounts_;
  const SnapshotPtr hold_;
};

std::vector<std::string> LocalSnapshots::LowerPaths(const RecordPtr& top) {
  if (top != nullptr && whole_trees()) return {LayerPath(*top)};
  std::vector<std::string> paths;
  for (const Record* record = top.get(); record != nullptr; record = record->parent.get()) paths.push_back(LayerPath(*record));
  return paths;
}

absl::Status LocalSnapshots::CheckMaterialized(const RecordPtr& top) {
  auto table = table_.Lock();
  for (const Record* record = top.get(); record != nullptr; record = record->parent.get()) {
    if (record->state == State::kLazy) return absl::FailedPreconditionError(absl::StrCat("snapshot ", record->id, " is not materialized"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> LocalSnapshots::LayerDirectories(const SnapshotPtr& snapshot) {
  if (snapshot == nullptr) return std::vector<std::string>{DirectoryPath("empty")};
  const RecordPtr record = RecordOf(snapshot);
  RETURN_IF_ERROR(CheckMaterialized(record));
  return LowerPaths(record);
}

absl::StatusOr<LocalSnapshots::Description> LocalSnapshots::Describe(const RecordPtr& record, bool readonly) {
  if (record == nullptr) return Description{{"bind", DirectoryPath("empty"), {"rbind", "ro"}}, ""};
  RETURN_IF_ERROR(CheckMaterialized(record));
  const bool active = [&] {
    auto table = table_.Lock();
    return record->state == State::kActive;
  }();
  if (!readonly && !active) return absl::FailedPreconditionError(absl::StrCat("snapshot ", record->id, " is committed: it cannot be written"));
  if (!readonly) RETURN_IF_ERROR(AboutToChange(record));
  std::vector<std::string> paths = LowerPaths(record);
  if (paths.size() == 1) return Description{{"bind", paths[0], {"rbind", readonly ? "ro" : "rw"}}, ""};
  // Neither redirects nor metadata-only copies: what is in a layer's directory must be the whole truth.
  std::vector<std::string> options = {"index=off", "redirect_dir=off", "metacopy=off"};
  if (readonly) {
    options.push_back("ro");
    options.push_back(absl::StrCat("lowerdir=", JoinEscaped(paths)));
    return Description{{"overlay", "overlay", options}, ""};
  }
  const std::string upper = paths[0];
  paths.erase(paths.begin());
  // A new one each time: "volatile" marks it as used up.
  const std::string work = absl::StrCat(DirectoryPath(record->directory), "/work", ++last_number_);
  if (::mkdir(work.c_str(), 0700) != 0) return ErrnoError(absl::StrCat("mkdir ", work));
  if (overlay_volatile_) options.push_back("volatile");
  options.push_back(absl::StrCat("lowerdir=", JoinEscaped(paths)));
  options.push_back(absl::StrCat("upperdir=", os::EscapeOverlayPath(upper)));
  options.push_back(absl::StrCat("workdir=", os::EscapeOverlayPath(work)));
  return Description{{"overlay", "overlay", options}, work};
}

absl::StatusOr<std::shared_ptr<LocalSnapshots::Mounted>> LocalSnapshots::MountDescribed(const Description& description, SnapshotPtr hold) {
  const auto& [mount, work] = description;
  if (mount.type == "bind") return std::make_shared<Mounted>(mount.source, "", nullptr, std::move(hold));
  const std::string path = absl::StrCat(root_, "/mounts/", ++last_number_);
  absl::Status status = ::mkdir(path.c_str(), 0700) != 0 ? ErrnoError(absl::StrCat("mkdir ", path)) : os::MountAt(mount, path);
  if (status.ok()) return std::make_shared<Mounted>(path, work, &unmounts_, std::move(hold));
  ::rmdir(path.c_str());
  if (!work.empty()) os::RemoveTree(work).IgnoreError();
  return status;
}

absl::StatusOr<std::shared_ptr<MountedTree>> LocalSnapshots::MountTree(const SnapshotPtr& snapshot, bool readonly) {
  const RecordPtr record = RecordOf(snapshot);
  bool shareable = false;
  if (record != nullptr && readonly) {
    auto table = table_.Lock();
    shareable = record->state == State::kCommitted;
    if (shareable) {
      if (std::shared_ptr<MountedTree> shared = record->tree.lock()) return shared;
    }
  }
  ASSIGN_OR_RETURN(const Description description, Describe(record, readonly));
  ASSIGN_OR_RETURN(const std::shared_ptr<MountedTree> mounted, MountDescribed(description, snapshot));
  if (!shareable) return mounted;
  auto table = table_.Lock();
  if (std::shared_ptr<MountedTree> shared = record->tree.lock()) return shared;  // another was faster; ours goes after the lock
  record->tree = mounted;
  return mounted;
}

}  // namespace cachalot::snapshot
