#include "tree/resolve.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/quiet_open.h"

namespace cachalot::tree {
namespace {

constexpr int kMaxRaces = 100;

// One directory of the file system as the root.
class DirectorySteps final : public PathSteps {
 public:
  explicit DirectorySteps(int root) : root_(root) {}

  absl::StatusOr<EntryKind> Look(const std::vector<std::string>& way, const std::string& name, std::string* target) override {
    RETURN_IF_ERROR(Reach(way));
    entry_.reset(::openat(directory_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!entry_.valid() && errno == ENOENT) return EntryKind::kNone;
    if (!entry_.valid()) return ErrnoError(absl::StrCat("open ", name));
    ASSIGN_OR_RETURN(const struct stat st, os::Stat(entry_.get()));
    const EntryKind kind = KindOf(st.st_mode);
    if (kind == EntryKind::kDirectory) {
      directory_ = std::move(entry_);
      ++depth_;
    } else if (kind == EntryKind::kLink) {
      linked_ = true;
      ASSIGN_OR_RETURN(*target, os::ReadLink(entry_.get(), ""));
    }
    return kind;
  }

  absl::StatusOr<Resolved> Finish(PathEnd end) {
    RETURN_IF_ERROR(Reach(end.way));
    Resolved resolved{std::move(end), {}, {}, linked_};
    resolved.directory = std::move(directory_);
    if (resolved.rest.empty()) {
      resolved.entry.reset(::fcntl(resolved.directory.get(), F_DUPFD_CLOEXEC, 0));
      if (!resolved.entry.valid()) return ErrnoError("duplicate a descriptor");
    } else if (resolved.exists()) {
      resolved.entry = std::move(entry_);
    }
    return resolved;
  }

 private:
  // The way only grows by what was looked at last; it is shorter after "..", and empty after an absolute link.
  absl::Status Reach(const std::vector<std::string>& way) {
    if (directory_.valid() && depth_ == way.size()) return absl::OkStatus();
    ASSIGN_OR_RETURN(directory_, os::OpenBeneath(root_, way.empty() ? "." : absl::StrJoin(way, "/"), O_PATH | O_DIRECTORY));
    depth_ = way.size();
    return absl::OkStatus();
  }

  const int root_;
  UniqueFd directory_;  // the first depth_ names of the way
  std::size_t depth_ = 0;
  UniqueFd entry_;  // what was looked at last and is no directory
  bool linked_ = false;
};

// `path` is for messages.
absl::StatusOr<UniqueFd> MakeOne(int parent, const std::string& name, const std::string& path, const DirectoryAttributes& attributes) {
  if (::mkdirat(parent, name.c_str(), attributes.mode) != 0) return ErrnoError(absl::StrCat("mkdir ", path));
  ASSIGN_OR_RETURN(UniqueFd fd, os::OpenBeneath(parent, name, O_RDONLY | O_DIRECTORY));
  // mkdir(2) honours the umask; the caller named the mode it wants.
  if (::fchmod(fd.get(), attributes.mode) != 0) return ErrnoError(absl::StrCat("chmod ", path));
  if (attributes.uid != static_cast<uid_t>(-1) || attributes.gid != static_cast<gid_t>(-1)) {
    if (::fchown(fd.get(), attributes.uid, attributes.gid) != 0) return ErrnoError(absl::StrCat("chown ", path));
  }
  return fd;
}

}  // namespace

absl::StatusOr<Resolved> Resolve(int root, absl::string_view path, bool follow_last) {
  DirectorySteps steps(root);
  ASSIGN_OR_RETURN(PathEnd end, WalkPath(steps, path, follow_last));
  return steps.Finish(std::move(end));
}

absl::StatusOr<UniqueFd> TryOpenDirectory(int root, absl::string_view path) {
  RETURN_IF_ERROR(CheckNoNullByte(path));
  struct open_how how = {};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const std::string text(path);
  UniqueFd fd;
  do {
    fd.reset(static_cast<int>(::syscall(SYS_openat2, root, text.c_str(), &how, sizeof how)));
  } while (!fd.valid() && (errno == EAGAIN || errno == EINTR));
  if (!fd.valid() && errno != ENOENT && errno != ENOTDIR && errno != ELOOP) return ErrnoError(absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<UniqueFd> OpenRegularFile(int directory, const std::string& name, absl::string_view path) {
  const UniqueFd entry(::openat(directory, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!entry.valid()) return ErrnoError(absl::StrCat("open ", path));
  ASSIGN_OR_RETURN(const struct stat st, os::Stat(entry.get()));
  if (!S_ISREG(st.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  UniqueFd fd = os::OpenQuietly(AT_FDCWD, os::DescriptorPath(entry.get()), 0);
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<UniqueFd> MakeDirectories(int root, absl::string_view path, const DirectoryAttributes& attributes, std::vector<std::string>* created) {
  for (int race = 0; race < kMaxRaces; ++race) {
    ASSIGN_OR_RETURN(Resolved at, Resolve(root, path));
    PathEnd made{std::move(at.way), {}, EntryKind::kDirectory};
    UniqueFd directory = std::move(at.directory);
    bool faster = false;  // somebody else made one of them
    for (const std::string& name : at.rest) {
      made.way.push_back(name);
      if (at.kind != EntryKind::kNone) return ErrnoError(absl::StrCat("mkdir ", made.Path()), ENOTDIR);
      absl::StatusOr<UniqueFd> next = MakeOne(directory.get(), name, made.Path(), attributes);
      faster = absl::IsAlreadyExists(next.status());
      if (faster) break;
      RETURN_IF_ERROR(next.status());
      directory = *std::move(next);
      if (created != nullptr) created->push_back(made.Path());
    }
    if (!faster) return directory;
  }
  return absl::AbortedError(absl::StrCat("mkdir ", path, ": it changes all the time"));
}

}  // namespace cachalot::tree
