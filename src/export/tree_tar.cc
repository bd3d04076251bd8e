#include "export/tree_tar.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "os/quiet_open.h"
#include "tree/path_walk.h"

namespace cachalot::exporting {
namespace {

class TreeWriter {
 public:
  TreeWriter(const TreeTarOptions& options, codec::TarWriter& tar, const CancelToken& cancel) : options_(options), tar_(tar), cancel_(cancel) {}

  absl::Status AddDirectory(int dir_fd, const std::string& path) {
    RETURN_IF_ERROR(cancel_.status());
    ASSIGN_OR_RETURN(std::vector<os::DirectoryEntry> entries, os::ListDirectory(dir_fd));
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    for (const os::DirectoryEntry& entry : entries) RETURN_IF_ERROR(AddEntry(dir_fd, entry.name, absl::StrCat(path, entry.name)));
    return absl::OkStatus();
  }

 private:
  absl::Status AddEntry(int dir_fd, const std::string& name, const std::string& path) {
    RETURN_IF_ERROR(tree::CheckPathLength("lstat", path));
    const UniqueFd fd(openat(dir_fd, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
    ASSIGN_OR_RETURN(const struct stat status, os::Stat(fd.get()));
    if (S_ISSOCK(status.st_mode)) return absl::OkStatus();
    ASSIGN_OR_RETURN(codec::TarEntry entry, Describe(fd.get(), path, status));
    if (entry.type == codec::TarType::kFile) return AddFile(fd.get(), entry);
    RETURN_IF_ERROR(tar_.Add(entry));
    if (entry.type != codec::TarType::kDirectory) return absl::OkStatus();
    const UniqueFd directory(openat(dir_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory.valid()) return ErrnoError(absl::StrCat("open ", path));
    return AddDirectory(directory.get(), absl::StrCat(path, "/"));
  }

  absl::StatusOr<codec::TarEntry> Describe(int fd, const std::string& path, const struct stat& status) {
    codec::TarEntry entry;
    entry.path = path;
    entry.mode = status.st_mode & 07777;
    entry.uid = status.st_uid;
    entry.gid = status.st_gid;
    // Whole seconds, the nearest one: what a plain tar header can say.
    entry.mtime.tv_sec = status.st_mtim.tv_sec + (status.st_mtim.tv_nsec >= 500000000 ? 1 : 0);
    if (options_.modification_time.has_value()) entry.mtime.tv_sec = absl::ToUnixSeconds(*options_.modification_time);
    RETURN_IF_ERROR(SetType(fd, status, entry));
    if (!S_ISDIR(status.st_mode) && status.st_nlink > 1) {
      const auto [first, is_new] = links_.emplace(std::make_pair(status.st_dev, status.st_ino), path);
      if (!is_new) {
        entry.type = codec::TarType::kHardLink;
        entry.link = first->second;
        entry.size = 0;
      }
    }
    RETURN_IF_ERROR(ReadXattrs(fd, entry));
    return entry;
  }

  static absl::Status SetType(int fd, const struct stat& status, codec::TarEntry& entry) {
    switch (status.st_mode & S_IFMT) {
      case S_IFDIR: entry.type = codec::TarType::kDirectory; break;
      case S_IFIFO: entry.type = codec::TarType::kFifo; break;
      case S_IFCHR: entry.type = codec::TarType::kCharDevice; break;
      case S_IFBLK: entry.type = codec::TarType::kBlockDevice; break;
      case S_IFLNK: {
        entry.type = codec::TarType::kSymlink;
        ASSIGN_OR_RETURN(entry.link, os::ReadLink(fd, ""));
        break;
      }
      default: entry.size = status.st_size;
    }
    if (entry.type == codec::TarType::kCharDevice || entry.type == codec::TarType::kBlockDevice) {
      entry.device_major = major(status.st_rdev);
      entry.device_minor = minor(status.st_rdev);
    }
    return absl::OkStatus();
  }

  // The descriptor is O_PATH, so the attributes are asked for by its path in /proc; a symlink's are its own.
  absl::Status ReadXattrs(int fd, codec::TarEntry& entry) {
    if (entry.type == codec::TarType::kSymlink) return absl::OkStatus();
    const std::string path = os::DescriptorPath(fd);
    const ssize_t size = listxattr(path.c_str(), names_.data(), names_.size());
    if (size < 0) return errno == ENOTSUP ? absl::OkStatus() : ErrnoError(absl::StrCat("list attributes of ", entry.path));
    for (absl::string_view name : absl::StrSplit(absl::string_view(names_.data(), static_cast<std::size_t>(size)), '\0', absl::SkipEmpty())) {
      // Overlayfs' own marks and the security labels of this host are not the tree's.
      if (absl::StartsWith(name, "trusted.overlay.") || absl::StartsWith(name, "user.overlay.") || name == "security.selinux") continue;
      const std::string key(name);
      const ssize_t got = getxattr(path.c_str(), key.c_str(), value_.data(), value_.size());
      if (got >= 0) entry.xattrs[key] = std::string(value_.data(), static_cast<std::size_t>(got));
    }
    return absl::OkStatus();
  }

  absl::Status AddFile(int path_fd, const codec::TarEntry& entry) {
    RETURN_IF_ERROR(tar_.Add(entry));
    if (entry.size == 0) return absl::OkStatus();
    UniqueFd fd = os::OpenQuietly(AT_FDCWD, os::DescriptorPath(path_fd), 0);
    if (!fd.valid()) return ErrnoError(absl::StrCat("open ", entry.path));
    codec::FdSource source(std::move(fd), entry.path);
    if (buffer_.empty()) buffer_.resize(codec::kBlockSize);
    for (std::int64_t left = entry.size; left > 0;) {
      RETURN_IF_ERROR(cancel_.status());
      const auto room = static_cast<std::size_t>(std::min<std::int64_t>(left, static_cast<std::int64_t>(buffer_.size())));
      ASSIGN_OR_RETURN(const std::size_t got, source.Read(buffer_.data(), room));
      if (got == 0) return absl::DataLossError(absl::StrCat(entry.path, " shrank while it was read"));
      RETURN_IF_ERROR(tar_.Write(absl::string_view(buffer_.data(), got)));
      left -= static_cast<std::int64_t>(got);
    }
    return absl::OkStatus();
  }

  const TreeTarOptions& options_;
  codec::TarWriter& tar_;
  const CancelToken& cancel_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
  std::vector<char> buffer_;
  // The kernel's limits for the names and one value of a file's extended attributes.
  std::vector<char> names_ = std::vector<char>(65536), value_ = std::vector<char>(65536);
};

}  // namespace

absl::Status AddTree(const std::string& root, const TreeTarOptions& options, codec::TarWriter& tar, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const UniqueFd directory, os::OpenDirectory(root));
  return TreeWriter(options, tar, cancel).AddDirectory(directory.get(), options.prefix);
}

}  // namespace cachalot::exporting
