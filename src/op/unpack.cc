// Archives that ADD unpacks.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "codec/compression.h"
#include "codec/tar.h"
#include "op/copier.h"
#include "op/file_actions.h"
#include "os/file.h"
#include "snapshot/file_attributes.h"

namespace cachalot::op {
namespace {

constexpr mode_t kImpliedDirectoryMode = 0755;

mode_t TypeOf(codec::TarType type) {
  switch (type) {
    case codec::TarType::kDirectory: return S_IFDIR;
    case codec::TarType::kSymlink: return S_IFLNK;
    case codec::TarType::kCharDevice: return S_IFCHR;
    case codec::TarType::kBlockDevice: return S_IFBLK;
    case codec::TarType::kFifo: return S_IFIFO;
    default: return S_IFREG;
  }
}

class Unpacker {
 public:
  Unpacker(codec::TarReader& reader, TreeWriter& tree, std::string root, std::optional<Owner> owner)
      : reader_(reader), tree_(tree), root_(std::move(root)), owner_(owner) {}

  // The first entry has been read.
  absl::Status Run(codec::TarEntry entry, const CancelToken& cancel) {
    bool more = true;
    while (more) {
      RETURN_IF_ERROR(cancel.status());
      RETURN_IF_ERROR(Annotate(Unpack(entry), entry.path));
      ASSIGN_OR_RETURN(more, reader_.Next(&entry));
    }
    // Now that nothing is added to them any more.
    for (const auto& [path, time] : directories_) {
      ASSIGN_OR_RETURN(const auto st, tree_.Lstat(path));
      if (!st.has_value() || !S_ISDIR(st->st_mode)) continue;  // a later entry took its place
      ASSIGN_OR_RETURN(const int fd, tree_.OpenDirectory(path));
      const struct timespec times[2] = {time, time};
      if (::futimens(fd, times) != 0) return ErrnoError(absl::StrCat("utime ", path));
    }
    return absl::OkStatus();
  }

 private:
  // Where an archive's name lies: links on the way are followed as if the destination were the root. Directories that the archive does not
  // have are root's.
  absl::StatusOr<std::string> Locate(absl::string_view name) {
    const std::string inside = RootedPath(name);
    if (inside == "/") return root_;
    ASSIGN_OR_RETURN(std::string parent, tree_.Resolve(DirName(inside), root_));
    ASSIGN_OR_RETURN(const auto st, tree_.Lstat(parent));
    if (!st.has_value()) RETURN_IF_ERROR(MakeDirectories(tree_, parent, kImpliedDirectoryMode, std::nullopt, std::nullopt));
    return JoinPath(parent, BaseName(inside));
  }

  absl::Status Unpack(const codec::TarEntry& entry) {
    if (CleanPath(entry.path) == ".") return absl::OkStatus();  // the destination keeps what it has
    ASSIGN_OR_RETURN(const std::string path, Locate(entry.path));
    const bool directory = entry.type == codec::TarType::kDirectory;
    ASSIGN_OR_RETURN(const auto old, tree_.Lstat(path));
    const bool merge = old.has_value() && directory && S_ISDIR(old->st_mode);
    if (path == root_ && !merge) return absl::OkStatus();
    if (old.has_value() && !merge) RETURN_IF_ERROR(tree_.Remove(path));
    Attributes attributes;
    attributes.uid = owner_.has_value() ? owner_->uid : entry.uid;
    attributes.gid = owner_.has_value() ? owner_->gid : entry.gid;
    attributes.mode = TypeOf(entry.type) | entry.mode;
    attributes.atime = attributes.mtime = entry.mtime;
    if (directory) {
      if (!merge) RETURN_IF_ERROR(tree_.MakeDirectory(path, entry.mode));
      ASSIGN_OR_RETURN(const int fd, tree_.OpenDirectory(path));
      RETURN_IF_ERROR(SetAttributes(fd, "", attributes));
      SetXattrs(fd, entry);
      directories_.emplace_back(path, entry.mtime);
      return absl::OkStatus();
    }
    if (entry.type == codec::TarType::kHardLink) return Link(entry, path, attributes);
    ASSIGN_OR_RETURN(const TreeWriter::Place place, tree_.MakeRoom(path));
    if (entry.type == codec::TarType::kFile) return WriteFile(entry, place, attributes);
    if (entry.type == codec::TarType::kSymlink) {
      if (::symlinkat(entry.link.c_str(), place.parent, place.name.c_str()) != 0) return ErrnoError("symlink");
    } else if (entry.type == codec::TarType::kCharDevice && entry.device_major == 0 && entry.device_minor == 0) {
      return ErrnoError("mknod", EPERM);  // overlayfs would take it for a deletion
    } else if (::mknodat(place.parent, place.name.c_str(), attributes.mode, makedev(entry.device_major, entry.device_minor)) != 0) {
      return ErrnoError("mknod");
    }
    return SetAttributes(place.parent, place.name, attributes);
  }

  // The entry's attributes become those of the file.
  absl::Status Link(const codec::TarEntry& entry, const std::string& path, Attributes attributes) {
    ASSIGN_OR_RETURN(const std::string from, Locate(entry.link));
    ASSIGN_OR_RETURN(const auto st, tree_.Lstat(from));
    if (!st.has_value()) return ErrnoError(absl::StrCat("link ", entry.link), ENOENT);
    ASSIGN_OR_RETURN(const int open, tree_.OpenDirectory(DirName(from)));
    const UniqueFd directory(::fcntl(open, F_DUPFD_CLOEXEC, 0));
    if (::faccessat(directory.get(), BaseName(from).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) != 0) RETURN_IF_ERROR(CopyUp(from, *st));
    ASSIGN_OR_RETURN(const TreeWriter::Place place, tree_.MakeRoom(path));
    if (::linkat(directory.get(), BaseName(from).c_str(), place.parent, place.name.c_str(), 0) != 0) {
      return ErrnoError(absl::StrCat("link ", entry.link));
    }
    attributes.mode = (st->st_mode & S_IFMT) | entry.mode;
    return SetAttributes(place.parent, place.name, attributes);
  }

  // Brings a file of the lower tree into the upper one, which alone can give it another name.
  absl::Status CopyUp(const std::string& path, const struct stat& st) {
    if (!S_ISREG(st.st_mode)) return absl::UnimplementedError(absl::StrCat("hard link to ", path, ": not a regular file of the archive"));
    ASSIGN_OR_RETURN(const UniqueFd from, tree_.OpenFile(path));
    ASSIGN_OR_RETURN(const TreeWriter::Place place, tree_.MakeRoom(path));
    const UniqueFd to(::openat(place.parent, place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!to.valid()) return ErrnoError("open");
    RETURN_IF_ERROR(CopyData(from.get(), to.get()));
    RETURN_IF_ERROR(SetAttributes(to.get(), "", AttributesOf(st)));
    CopyXattrs(from.get(), to.get());
    return absl::OkStatus();
  }

  absl::Status WriteFile(const codec::TarEntry& entry, const TreeWriter::Place& place, const Attributes& attributes) {
    const UniqueFd fd(::openat(place.parent, place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd.valid()) return ErrnoError("open");
    buffer_.resize(codec::kBlockSize);
    while (true) {
      std::int64_t offset = 0;
      ASSIGN_OR_RETURN(const std::size_t n, reader_.ReadData(buffer_.data(), buffer_.size(), &offset));
      if (n == 0) break;
      if (::lseek(fd.get(), offset, SEEK_SET) < 0) return ErrnoError("seek");
      RETURN_IF_ERROR(os::WriteAll(fd.get(), absl::string_view(buffer_.data(), n), entry.path));
    }
    if (::ftruncate(fd.get(), entry.size) != 0) return ErrnoError("truncate");
    RETURN_IF_ERROR(SetAttributes(fd.get(), "", attributes));
    SetXattrs(fd.get(), entry);
    return absl::OkStatus();
  }

  // Those that the file system takes. Overlayfs's own would change what is seen of other layers.
  static void SetXattrs(int fd, const codec::TarEntry& entry) {
    for (const auto& [name, value] : entry.xattrs) {
      if (!snapshot::IsOverlayXattr(name)) (void)::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0);
    }
  }

  codec::TarReader& reader_;
  TreeWriter& tree_;
  const std::string root_;
  const std::optional<Owner> owner_;
  std::vector<std::pair<std::string, struct timespec>> directories_;
  std::string buffer_;
};

}  // namespace

absl::StatusOr<bool> UnpackAction(SourceTree& from, const std::string& source, TreeWriter& tree, const std::string& destination,
                                  const std::optional<Owner>& owner, std::optional<struct timespec> time, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const std::string path, from.Resolve(source, true));
  const absl::StatusOr<struct stat> st = from.Lstat(path);
  if (!st.ok() || !S_ISREG(st->st_mode)) return false;
  ASSIGN_OR_RETURN(UniqueFd fd, from.OpenFile(path));
  auto stream = codec::NewAutoDecompressor(std::make_unique<codec::FdSource>(std::move(fd), path));
  if (!stream.ok()) return false;
  codec::TarReader reader(stream->get());
  codec::TarEntry entry;
  const absl::StatusOr<bool> first = reader.Next(&entry);
  // An archive but for a number that no file can have: taking it for a file would hide that.
  if (absl::IsOutOfRange(first.status())) return Annotate(first.status(), absl::StrCat("failed to unpack ", source));
  if (!first.ok() || !*first) return false;
  ASSIGN_OR_RETURN(const std::string root, tree.Resolve(RootedPath(destination)));
  RETURN_IF_ERROR(MakeDirectories(tree, root, kImpliedDirectoryMode, owner, time));
  RETURN_IF_ERROR(Annotate(Unpacker(reader, tree, root, owner).Run(std::move(entry), cancel), absl::StrCat("failed to unpack ", source)));
  return true;
}

}  // namespace cachalot::op
