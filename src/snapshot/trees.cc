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

// overlayfs takes ':' apart and mount(2) ','.
std::string Escape(const std::string& path) {
  std::string escaped;
  for (char c : path) {
    if (c == ':' || c == ',' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string JoinEscaped(const std::vector<std::string>& paths) {
  return absl::StrJoin(paths, ":", [](std::string* out, const std::string& path) { out->append(Escape(path)); });
}

}  // namespace

// A tree at a path, mounted there unless it is a plain directory. Unmounted a little after the last use.
class LocalSnapshots::Mounted final : public MountedTree {
 public:
  // `unmounts` is null for a directory that is not mounted.
  Mounted(std::string path, WorkerPool* unmounts, SnapshotPtr hold) : path_(std::move(path)), unmounts_(unmounts), hold_(std::move(hold)) {}
  ~Mounted() override {
    if (unmounts_ == nullptr) return;
    unmounts_->Run([path = path_] {
      if (const absl::Status status = os::Unmount(path); !status.ok()) {
        LogError(status.message());
      } else {
        ::rmdir(path.c_str());
      }
    });
  }
  const std::string& path() const override { return path_; }

 private:
  const std::string path_;
  WorkerPool* const unmounts_;
  const SnapshotPtr hold_;
};

std::vector<std::string> LocalSnapshots::LowerPaths(const RecordPtr& top) {
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

absl::StatusOr<os::Mount> LocalSnapshots::Describe(const RecordPtr& record, bool readonly) {
  if (record == nullptr) return os::Mount{"bind", DirectoryPath("empty"), {"rbind", "ro"}};
  RETURN_IF_ERROR(CheckMaterialized(record));
  const bool active = [&] {
    auto table = table_.Lock();
    return record->state == State::kActive;
  }();
  if (!readonly && !active) return absl::FailedPreconditionError(absl::StrCat("snapshot ", record->id, " is committed: it cannot be written"));
  std::vector<std::string> paths = LowerPaths(record);
  if (paths.size() == 1) return os::Mount{"bind", paths[0], {"rbind", readonly ? "ro" : "rw"}};
  // Neither redirects nor metadata-only copies: what is in a layer's directory must be the whole truth.
  std::vector<std::string> options = {"index=off", "redirect_dir=off", "metacopy=off"};
  if (readonly) {
    options.push_back("ro");
    options.push_back(absl::StrCat("lowerdir=", JoinEscaped(paths)));
    return os::Mount{"overlay", "overlay", options};
  }
  const std::string upper = paths[0];
  paths.erase(paths.begin());
  // A new one each time: "volatile" marks it as used up.
  const std::string work = absl::StrCat(DirectoryPath(record->directory), "/work", ++last_number_);
  if (::mkdir(work.c_str(), 0700) != 0) return ErrnoError(absl::StrCat("mkdir ", work));
  if (overlay_volatile_) options.push_back("volatile");
  options.push_back(absl::StrCat("lowerdir=", JoinEscaped(paths)));
  options.push_back(absl::StrCat("upperdir=", Escape(upper)));
  options.push_back(absl::StrCat("workdir=", Escape(work)));
  return os::Mount{"overlay", "overlay", options};
}

absl::StatusOr<std::shared_ptr<LocalSnapshots::Mounted>> LocalSnapshots::MountDescribed(const os::Mount& mount, SnapshotPtr hold) {
  if (mount.type == "bind") return std::make_shared<Mounted>(mount.source, nullptr, std::move(hold));
  const std::string path = absl::StrCat(root_, "/mounts/", ++last_number_);
  if (::mkdir(path.c_str(), 0700) != 0) return ErrnoError(absl::StrCat("mkdir ", path));
  if (absl::Status status = os::MountAt(mount, path); !status.ok()) {
    ::rmdir(path.c_str());
    return status;
  }
  return std::make_shared<Mounted>(path, &unmounts_, std::move(hold));
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
  ASSIGN_OR_RETURN(const os::Mount mount, Describe(record, readonly));
  ASSIGN_OR_RETURN(const std::shared_ptr<MountedTree> mounted, MountDescribed(mount, snapshot));
  if (!shareable) return mounted;
  auto table = table_.Lock();
  if (std::shared_ptr<MountedTree> shared = record->tree.lock()) return shared;  // another was faster; ours goes after the lock
  record->tree = mounted;
  return mounted;
}

}  // namespace cachalot::snapshot
