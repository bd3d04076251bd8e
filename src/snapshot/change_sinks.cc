#include "snapshot/change_sinks.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "os/quiet_open.h"
#include "snapshot/apply_layer.h"
#include "snapshot/file_attributes.h"

namespace cachalot::snapshot {

namespace {

using codec::TarEntry;
using codec::TarType;

TarType TypeOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR: return TarType::kDirectory;
    case S_IFLNK: return TarType::kSymlink;
    case S_IFCHR: return TarType::kCharDevice;
    case S_IFBLK: return TarType::kBlockDevice;
    case S_IFIFO: return TarType::kFifo;
    default: return TarType::kFile;
  }
}

std::string InDirectoryOf(const std::string& path, absl::string_view name) {
  const std::string directory = DirName(path);
  return directory == "." ? std::string(name) : absl::StrCat(directory, "/", name);
}

absl::Status CopyData(int dir_fd, const std::string& name, int target) {
  const UniqueFd source = os::OpenQuietly(dir_fd, name);
  if (!source.valid()) return ErrnoError(absl::StrCat("open ", name));
  while (true) {
    const ssize_t n = ::copy_file_range(source.get(), nullptr, target, nullptr, 1 << 30, 0);
    if (n == 0) return absl::OkStatus();
    if (n > 0) continue;
    if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS) return ErrnoError(absl::StrCat("copy ", name));
    const ssize_t sent = ::sendfile(target, source.get(), nullptr, 1 << 30);
    if (sent < 0) return ErrnoError(absl::StrCat("copy ", name));
    if (sent == 0) return absl::OkStatus();
  }
}

}  // namespace

absl::Status TarChangeSink::OnEntry(const std::string& path, int dir_fd, const std::string& name, const struct stat& status,
                                    const std::string& link) {
  TarEntry entry;
  entry.path = path;
  entry.type = link.empty() ? TypeOf(status.st_mode) : TarType::kHardLink;
  entry.mode = status.st_mode & 07777;
  entry.uid = status.st_uid;
  entry.gid = status.st_gid;
  entry.mtime = {status.st_mtim.tv_sec, 0};
  entry.link = link;
  if (entry.type == TarType::kFile) entry.size = status.st_size;
  if (entry.type == TarType::kSymlink) {
    ASSIGN_OR_RETURN(entry.link, os::ReadLink(dir_fd, name));
  }
  if (entry.type == TarType::kCharDevice || entry.type == TarType::kBlockDevice) {
    entry.device_major = major(status.st_rdev);
    entry.device_minor = minor(status.st_rdev);
  }
  ASSIGN_OR_RETURN(entry.xattrs, ReadXattrs(dir_fd, name));
  for (auto it = entry.xattrs.begin(); it != entry.xattrs.end();) {
    it = it->first == "security.capability" || absl::StartsWith(it->first, "user.") ? std::next(it) : entry.xattrs.erase(it);
  }
  RETURN_IF_ERROR(tar_->Add(entry));
  return entry.type == TarType::kFile && entry.size > 0 ? WriteData(dir_fd, name, entry.size) : absl::OkStatus();
}

absl::Status TarChangeSink::WriteData(int dir_fd, const std::string& name, std::int64_t size) {
  const UniqueFd fd = os::OpenQuietly(dir_fd, name);
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", name));
  while (size > 0) {
    const ssize_t n = ::read(fd.get(), buffer_.data(), std::min<std::int64_t>(size, buffer_.size()));
    if (n < 0) return ErrnoError(absl::StrCat("read ", name));
    if (n == 0) return absl::DataLossError(absl::StrCat(name, " became shorter while it was read"));
    RETURN_IF_ERROR(tar_->Write(absl::string_view(buffer_.data(), n)));
    size -= n;
  }
  return absl::OkStatus();
}

absl::Status TarChangeSink::OnDeleted(const std::string& path) {
  TarEntry entry;
  entry.path = InDirectoryOf(path, absl::StrCat(kWhiteoutPrefix, BaseName(path)));
  return tar_->Add(entry);
}

absl::StatusOr<UniqueFd> LinkChangeSink::OpenTarget(const std::string& directory) {
  if (!root_.valid()) {
    ASSIGN_OR_RETURN(root_, os::OpenDirectory(target_));
  }
  return os::OpenBeneath(root_.get(), directory, O_RDONLY | O_DIRECTORY);
}

absl::Status LinkChangeSink::Enter(const std::string& directory) {
  if (parents_.target.valid() && parents_.path == directory) return absl::OkStatus();
  parents_ = {directory, {}, {}};
  ASSIGN_OR_RETURN(parents_.target, OpenTarget(directory));
  return absl::OkStatus();
}

absl::Status LinkChangeSink::OnEntry(const std::string& path, int dir_fd, const std::string& name, const struct stat& status,
                                     const std::string& link) {
  any_ = true;
  RETURN_IF_ERROR(Enter(DirName(path)));
  if (!link.empty() && LinkAgain(link, name).ok()) return absl::OkStatus();
  if (!S_ISDIR(status.st_mode)) return Place(path, dir_fd, name, status);
  if (::mkdirat(parents_.target.get(), name.c_str(), 0700) != 0) return ErrnoError(absl::StrCat("mkdir ", path));
  directory_times_.emplace_back(path, status.st_mtim);
  ASSIGN_OR_RETURN(const UniqueFd from, os::OpenBeneath(dir_fd, name, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(const UniqueFd to, os::OpenBeneath(parents_.target.get(), name, O_RDONLY | O_DIRECTORY));
  return Annotate(CopyDirectoryAttributes(from.get(), to.get()), path);
}

// Another name for what is in the new layer already.
absl::Status LinkChangeSink::LinkAgain(const std::string& link, const std::string& name) {
  ASSIGN_OR_RETURN(const UniqueFd directory, OpenTarget(DirName(link)));
  if (::linkat(directory.get(), BaseName(link).c_str(), parents_.target.get(), name.c_str(), 0) != 0) return ErrnoError("link");
  return absl::OkStatus();
}

absl::Status LinkChangeSink::Place(const std::string& path, int dir_fd, const std::string& name, const struct stat& status) {
  if (files_ == Files::kCopied) return Annotate(Copy(dir_fd, name, status), path);
  if (::linkat(dir_fd, name.c_str(), parents_.target.get(), name.c_str(), 0) == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const bool linked, LinkFromSources(name, status));
  return linked ? absl::OkStatus() : Annotate(Copy(dir_fd, name, status), path);
}

// A mounted tree gives no links: the file is looked for in the layers that it is made of.
absl::StatusOr<bool> LinkChangeSink::LinkFromSources(const std::string& name, const struct stat& status) {
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (parents_.sources.size() == i) {
      ASSIGN_OR_RETURN(const UniqueFd root, os::OpenDirectory(sources_[i]));
      absl::StatusOr<UniqueFd> directory = os::OpenBeneath(root.get(), parents_.path, O_PATH | O_DIRECTORY);
      // A link or a file on the way: this path means something else in that layer, and what lies below is hidden.
      if (!directory.ok() && !absl::IsNotFound(directory.status())) return false;
      parents_.sources.push_back(directory.ok() ? *std::move(directory) : UniqueFd());
    }
    const int directory = parents_.sources[i].get();
    struct stat found;
    if (directory < 0 || (::fstatat(directory, name.c_str(), &found, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)) continue;
    return found.st_mode == status.st_mode && found.st_size == status.st_size &&
           ::linkat(directory, name.c_str(), parents_.target.get(), name.c_str(), 0) == 0;
  }
  return false;
}

absl::Status LinkChangeSink::Copy(int dir_fd, const std::string& name, const struct stat& status) {
  const int target = parents_.target.get();
  if (S_ISLNK(status.st_mode)) {
    ASSIGN_OR_RETURN(const std::string link, os::ReadLink(dir_fd, name));
    if (::symlinkat(link.c_str(), target, name.c_str()) != 0) return ErrnoError("link");
  } else if (S_ISREG(status.st_mode)) {
    ASSIGN_OR_RETURN(const UniqueFd fd, os::OpenBeneath(target, name, O_WRONLY | O_CREAT | O_EXCL, 0600));
    RETURN_IF_ERROR(CopyData(dir_fd, name, fd.get()));
  } else if (::mknodat(target, name.c_str(), status.st_mode, status.st_rdev) != 0) {
    return ErrnoError("create");
  }
  if (::fchownat(target, name.c_str(), status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoError("chown");
  if (!S_ISLNK(status.st_mode) && ::fchmodat(target, name.c_str(), status.st_mode & 07777, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoError("chmod");
  ASSIGN_OR_RETURN(const auto xattrs, ReadXattrs(dir_fd, name));
  for (const auto& [key, value] : xattrs) RETURN_IF_ERROR(SetXattr(target, name, key, value));
  const timespec times[2] = {status.st_atim, status.st_mtim};
  if (::utimensat(target, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoError("set times");
  return absl::OkStatus();
}

absl::Status LinkChangeSink::OnDeleted(const std::string& path) {
  any_ = true;
  if (lowers_ && !ExistsInAny(*lowers_, path)) {
    deleted_.push_back(path);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Enter(DirName(path)));
  if (::mknodat(parents_.target.get(), BaseName(path).c_str(), S_IFCHR, makedev(0, 0)) != 0) return ErrnoError(absl::StrCat("whiteout ", path));
  return absl::OkStatus();
}

absl::Status LinkChangeSink::Finish() {
  for (const auto& [path, mtime] : directory_times_) {
    const timespec times[2] = {mtime, mtime};
    ASSIGN_OR_RETURN(const UniqueFd directory, OpenTarget(path));
    if (::futimens(directory.get(), times) != 0) return ErrnoError(absl::StrCat("set times of ", path));
  }
  return absl::OkStatus();
}

}  // namespace cachalot::snapshot
