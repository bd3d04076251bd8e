#include "snapshot/apply_layer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "codec/tar.h"
#include "os/file.h"
#include "snapshot/file_attributes.h"
#include "tree/resolve.h"

namespace cachalot::snapshot {

namespace {

using codec::TarEntry;
using codec::TarType;

class Applier {
 public:
  Applier(codec::Source& archive, std::string root, const std::vector<std::string>& lowers)
      : tar_(&archive), root_(std::move(root)), lowers_(lowers), buffer_(codec::kBlockSize) {}

  absl::Status Run(const CancelToken& cancel) {
    ASSIGN_OR_RETURN(root_fd_, os::OpenDirectory(root_));
    TarEntry entry;
    while (true) {
      if (cancel.cancelled()) return cancel.status();
      ASSIGN_OR_RETURN(const bool more, tar_.Next(&entry));
      if (!more) break;
      if (absl::Status status = Apply(entry); !status.ok()) return Annotate(status, absl::StrCat("unpack ", entry.path));
    }
    RETURN_IF_ERROR(tar_.Drain());
    return SetDirectoryTimes();
  }

 private:
  absl::Status Apply(const TarEntry& entry) {
    const std::string path = RootedPath(entry.path).substr(1);
    if (path.empty()) return ApplyRoot(entry);
    const std::string name = BaseName(path);
    RETURN_IF_ERROR(EnterParent(DirName(path)));
    if (absl::StartsWith(name, kWhiteoutPrefix)) return ApplyWhiteout(path, name);
    switch (entry.type) {
      case TarType::kFile: return ApplyFile(entry, name);
      case TarType::kHardLink: return ApplyHardLink(entry, name);
      case TarType::kDirectory: return ApplyDirectory(entry, path, name);
      case TarType::kSymlink:
        return Replace(
            name, [&] { return ::symlinkat(entry.link.c_str(), parent(), name.c_str()); }, entry);
      case TarType::kCharDevice: return ApplyNode(entry, name, S_IFCHR);
      case TarType::kBlockDevice: return ApplyNode(entry, name, S_IFBLK);
      case TarType::kFifo: return ApplyNode(entry, name, S_IFIFO);
    }
    return absl::OkStatus();
  }

  int parent() const { return parent_fd_.get(); }

  // Makes the directory of the next entries current: entries of one directory come together, so it is looked up once for many.
  absl::Status EnterParent(const std::string& path) {
    if (parent_fd_.valid() && path == parent_path_) return absl::OkStatus();
    parent_fd_.reset();
    absl::StatusOr<UniqueFd> fd = os::OpenInRoot(root_fd_.get(), path, O_RDONLY | O_DIRECTORY);
    if (!fd.ok()) fd = MakeParents(path);
    RETURN_IF_ERROR(fd.status());
    parent_fd_ = *std::move(fd);
    parent_path_ = path;
    return absl::OkStatus();
  }

  absl::StatusOr<UniqueFd> MakeParents(const std::string& path) {
    RETURN_IF_ERROR(FillHidden(path));
    std::vector<std::string> created;
    ASSIGN_OR_RETURN(const UniqueFd made, tree::MakeDirectories(root_fd_.get(), path, {0755, 0, 0}, &created));
    for (const std::string& directory : created) RETURN_IF_ERROR(TakeAttributes(directory.substr(1)));
    return os::OpenBeneath(made.get(), ".", O_RDONLY | O_DIRECTORY);
  }

  // A directory on the way to `path` that this layer hides and yet has entries of is there again, with those alone.
  absl::Status FillHidden(const std::string& path) {
    for (std::size_t end = 0; end != std::string::npos;) {
      end = path.find('/', end + 1);
      const std::string directory = path.substr(0, end);
      const absl::StatusOr<UniqueFd> above = os::OpenInRoot(root_fd_.get(), DirName(directory), O_PATH | O_DIRECTORY);
      if (!above.ok()) return absl::OkStatus();  // nothing is there
      const std::string name = BaseName(directory);
      struct stat status;
      if (::fstatat(above->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !IsWhiteout(status)) continue;
      if (::unlinkat(above->get(), name.c_str(), 0) != 0) return ErrnoError(absl::StrCat("remove the whiteout of ", directory));
      if (::mkdirat(above->get(), name.c_str(), 0755) != 0) return ErrnoError(absl::StrCat("mkdir ", directory));
      RETURN_IF_ERROR(MarkOpaque(above->get(), name));
    }
    return absl::OkStatus();
  }

  // Gives the directory `path`, which was made just now, the attributes that it has in the tree below.
  absl::Status TakeAttributes(const std::string& path) {
    for (const std::string& lower : lowers_) {
      ASSIGN_OR_RETURN(const UniqueFd lower_fd, os::OpenDirectory(lower));
      absl::StatusOr<UniqueFd> found = os::OpenInRoot(lower_fd.get(), path, O_RDONLY | O_DIRECTORY);
      if (!found.ok()) continue;
      ASSIGN_OR_RETURN(const UniqueFd target, os::OpenBeneath(root_fd_.get(), path, O_RDONLY | O_DIRECTORY));
      RETURN_IF_ERROR(CopyDirectoryAttributes(found->get(), target.get()));
      ASSIGN_OR_RETURN(const struct stat status, os::Stat(found->get()));
      directory_times_.emplace_back(path, status.st_mtim);
      break;
    }
    return absl::OkStatus();
  }

  absl::Status ApplyRoot(const TarEntry& entry) {
    if (entry.type != TarType::kDirectory) return absl::OkStatus();
    return SetAttributes(entry, root_fd_.get(), "");
  }

  absl::Status ApplyWhiteout(const std::string& path, const std::string& name) {
    if (name == kOpaqueMarker) return lowers_.empty() ? absl::OkStatus() : MarkOpaque(parent(), "");
    if (absl::StartsWith(name, ".wh..wh.")) return absl::OkStatus();  // aufs's own files
    const std::string hidden(absl::StripPrefix(name, kWhiteoutPrefix));
    if (hidden.empty() || hidden == "." || hidden == "..") return absl::DataLossError("invalid whiteout");
    // With nothing to hide it would show in listings.
    if (!ExistsInAny(lowers_, JoinPath(DirName(path), hidden))) return absl::OkStatus();
    if (::mknodat(parent(), hidden.c_str(), S_IFCHR, makedev(0, 0)) == 0) return absl::OkStatus();
    if (errno != EEXIST) return ErrnoError(absl::StrCat("whiteout ", hidden));
    // A whiteout concerns the layers below alone: what this layer has there stays, and hides what is below.
    struct stat status;
    if (::fstatat(parent(), hidden.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode)) return MarkOpaque(parent(), hidden);
    return absl::OkStatus();
  }

  // Creates `name` by `create`, in the place of whatever this layer has there, and gives it its attributes.
  template <typename Create>
  absl::Status Replace(const std::string& name, const Create& create, const TarEntry& entry) {
    if (create() != 0) {
      if (errno != EEXIST) return ErrnoError(absl::StrCat("create ", name));
      RETURN_IF_ERROR(os::RemoveTreeAt(parent(), name));
      if (create() != 0) return ErrnoError(absl::StrCat("create ", name));
    }
    return SetAttributes(entry, parent(), name);
  }

  absl::Status ApplyNode(const TarEntry& entry, const std::string& name, mode_t type) {
    const dev_t device = makedev(entry.device_major, entry.device_minor);
    return Replace(
        name, [&] { return ::mknodat(parent(), name.c_str(), type | 0600, device); }, entry);
  }

  absl::Status ApplyDirectory(const TarEntry& entry, const std::string& path, const std::string& name) {
    if (::mkdirat(parent(), name.c_str(), 0700) != 0) {
      if (errno != EEXIST) return ErrnoError("mkdir");
      struct stat status;
      if (::fstatat(parent(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoError("stat");
      if (!S_ISDIR(status.st_mode)) {
        RETURN_IF_ERROR(os::RemoveTreeAt(parent(), name));
        if (::mkdirat(parent(), name.c_str(), 0700) != 0) return ErrnoError("mkdir");
        if (IsWhiteout(status)) RETURN_IF_ERROR(MarkOpaque(parent(), name));
      }
    }
    directory_times_.emplace_back(path, entry.mtime);
    return SetAttributes(entry, parent(), name);
  }

  absl::Status ApplyHardLink(const TarEntry& entry, const std::string& name) {
    const std::string target = RootedPath(entry.link).substr(1);
    if (target.empty()) return absl::DataLossError("hard link to the root");
    ASSIGN_OR_RETURN(const UniqueFd directory, os::OpenInRoot(root_fd_.get(), DirName(target), O_PATH | O_DIRECTORY));
    const std::string target_name = BaseName(target);
    const auto link = [&] { return ::linkat(directory.get(), target_name.c_str(), parent(), name.c_str(), 0); };
    if (link() == 0) return absl::OkStatus();
    if (errno != EEXIST) return ErrnoError(absl::StrCat("hard link to ", entry.link));
    struct stat own, other;
    if (::fstatat(directory.get(), target_name.c_str(), &other, AT_SYMLINK_NOFOLLOW) != 0)
      return ErrnoError(absl::StrCat("hard link to ", entry.link));
    if (::fstatat(parent(), name.c_str(), &own, AT_SYMLINK_NOFOLLOW) == 0 && own.st_ino == other.st_ino) return absl::OkStatus();
    RETURN_IF_ERROR(os::RemoveTreeAt(parent(), name));
    if (link() != 0) return ErrnoError(absl::StrCat("hard link to ", entry.link));
    return absl::OkStatus();
  }

  absl::Status ApplyFile(const TarEntry& entry, const std::string& name) {
    const auto open = [&] { return ::openat(parent(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600); };
    UniqueFd fd(open());
    if (!fd.valid()) {
      if (errno != EEXIST) return ErrnoError("create");
      RETURN_IF_ERROR(os::RemoveTreeAt(parent(), name));
      fd.reset(open());
      if (!fd.valid()) return ErrnoError("create");
    }
    std::int64_t end = 0;
    while (true) {
      std::int64_t offset = 0;
      ASSIGN_OR_RETURN(const std::size_t n, tar_.ReadData(buffer_.data(), buffer_.size(), &offset));
      if (n == 0) break;
      for (std::size_t done = 0; done < n;) {
        const ssize_t written = ::pwrite(fd.get(), buffer_.data() + done, n - done, offset + static_cast<std::int64_t>(done));
        if (written < 0) return ErrnoError("write");
        done += written;
      }
      end = offset + static_cast<std::int64_t>(n);
    }
    if (end != entry.size && ::ftruncate(fd.get(), entry.size) != 0) return ErrnoError("extend");
    if (::fchown(fd.get(), entry.uid, entry.gid) != 0) return ErrnoError("chown");
    if (::fchmod(fd.get(), entry.mode) != 0) return ErrnoError("chmod");
    for (const auto& [key, value] : entry.xattrs) {
      if (!IsOverlayXattr(key)) RETURN_IF_ERROR(SetXattr(parent(), name, key, value));
    }
    const timespec times[2] = {entry.mtime, entry.mtime};
    if (::futimens(fd.get(), times) != 0) return ErrnoError("set times");
    return absl::OkStatus();
  }

  // Owner before mode and capabilities: changing it would clear set-id bits and security.capability.
  absl::Status SetAttributes(const TarEntry& entry, int dir_fd, const std::string& name) {
    const int empty = name.empty() ? AT_EMPTY_PATH : 0;
    if (::fchownat(dir_fd, name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW | empty) != 0) return ErrnoError("chown");
    if (entry.type != TarType::kSymlink) {
      const int result = name.empty() ? ::fchmod(dir_fd, entry.mode) : ::fchmodat(dir_fd, name.c_str(), entry.mode, AT_SYMLINK_NOFOLLOW);
      if (result != 0) return ErrnoError("chmod");
    }
    for (const auto& [key, value] : entry.xattrs) {
      if (!IsOverlayXattr(key)) RETURN_IF_ERROR(SetXattr(dir_fd, name, key, value));
    }
    if (entry.type == TarType::kDirectory && !name.empty()) return absl::OkStatus();  // at the end: what is put into it changes it
    const timespec times[2] = {entry.mtime, entry.mtime};
    const int result = name.empty() ? ::futimens(dir_fd, times) : ::utimensat(dir_fd, name.c_str(), times, AT_SYMLINK_NOFOLLOW);
    if (result != 0) return ErrnoError("set times");
    return absl::OkStatus();
  }

  absl::Status SetDirectoryTimes() {
    for (const auto& [path, mtime] : directory_times_) {
      absl::StatusOr<UniqueFd> fd = os::OpenInRoot(root_fd_.get(), path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (!fd.ok()) continue;  // replaced by something else later in the archive
      const timespec times[2] = {mtime, mtime};
      if (::futimens(fd->get(), times) != 0) return ErrnoError(absl::StrCat("set times of ", path));
    }
    return absl::OkStatus();
  }

  codec::TarReader tar_;
  const std::string root_;
  const std::vector<std::string>& lowers_;
  std::vector<char> buffer_;
  UniqueFd root_fd_, parent_fd_;
  std::string parent_path_;
  std::vector<std::pair<std::string, timespec>> directory_times_;
};

}  // namespace

absl::Status ApplyLayer(codec::Source& archive, const std::string& root, const std::vector<std::string>& lowers, const CancelToken& cancel) {
  return Applier(archive, root, lowers).Run(cancel);
}

}  // namespace cachalot::snapshot
