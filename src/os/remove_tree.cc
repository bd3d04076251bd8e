#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"

namespace cachalot::os {
namespace {

// Each level of a descent holds a descriptor; deeper directories are first moved up to the top, so that any depth works.
constexpr int kMaxDepth = 100;

// Opens a directory for listing unless it is a link or the root of another mount (bind mounts of the same file system included).
int OpenSameMount(int dir_fd, const std::string& name) {
  struct open_how how = {};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_NO_XDEV | RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  while (true) {
    int fd = static_cast<int>(::syscall(SYS_openat2, dir_fd, name.c_str(), &how, sizeof how));
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return fd;
  }
}

UniqueFd OpenForRemoval(int dir_fd, const std::string& name) {
  UniqueFd fd(OpenSameMount(dir_fd, name));
  if (fd.valid() || errno != EACCES) return fd;
  const UniqueFd closed(::openat(dir_fd, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  // There is no fchmod for a descriptor that cannot read.
  if (closed.valid() && ::chmod(DescriptorPath(closed.get()).c_str(), 0700) == 0) fd.reset(OpenSameMount(dir_fd, name));
  return fd;
}

// Removes one tree. What it moves out of the depth it moves to the tree's own top, so that a crash leaves nothing beside it.
class Remover {
 public:
  absl::Status Remove(int parent_fd, const std::string& name) {
    if (::unlinkat(parent_fd, name.c_str(), 0) == 0 || errno == ENOENT) return absl::OkStatus();
    if (errno != EISDIR) return ErrnoError(absl::StrCat("remove ", name));
    top_ = OpenForRemoval(parent_fd, name);
    if (!top_.valid()) {
      if (errno != ENOENT) Fail(name);
      return first_error_;
    }
    RemoveContent(top_.get(), 0);
    while (!moved_.empty()) {
      std::string next = std::move(moved_.back());
      moved_.pop_back();
      RemoveDirectory(top_.get(), next, 0);
    }
    RemoveEmpty(parent_fd, name);
    return first_error_;
  }

 private:
  void Fail(const std::string& name) {
    int error = errno;
    if (!first_error_.ok()) return;
    bool mounted = error == EXDEV || error == EBUSY;
    first_error_ = mounted ? absl::FailedPreconditionError(absl::StrCat("remove ", name, ": it is a mount point"))
                           : ErrnoError(absl::StrCat("remove ", name), error);
  }

  void RemoveEntry(int dir_fd, const std::string& name, unsigned char type, int depth) {
    if (type != DT_DIR) {
      if (::unlinkat(dir_fd, name.c_str(), 0) == 0 || errno == ENOENT) return;
      if (errno != EISDIR) return Fail(name);
    }
    RemoveDirectory(dir_fd, name, depth);
  }

  void RemoveDirectory(int dir_fd, const std::string& name, int depth) {
    UniqueFd fd = OpenForRemoval(dir_fd, name);
    if (!fd.valid()) {
      if (errno != ENOENT) Fail(name);
      return;
    }
    if (depth >= kMaxDepth && MoveUp(dir_fd, name)) return;
    RemoveContent(fd.get(), depth);
    RemoveEmpty(dir_fd, name);
  }

  void RemoveEmpty(int dir_fd, const std::string& name) {
    if (::unlinkat(dir_fd, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return;
    // An earlier error explains why something is left in it.
    if (errno != ENOTEMPTY || first_error_.ok()) Fail(name);
  }

  bool MoveUp(int dir_fd, const std::string& name) {
    std::string unique = absl::StrCat(".remove-", RandomId());
    if (::renameat(dir_fd, name.c_str(), top_.get(), unique.c_str()) != 0) return false;
    moved_.push_back(std::move(unique));
    return true;
  }

  void RemoveContent(int fd, int depth) {
    absl::StatusOr<std::vector<DirectoryEntry>> entries = ListDirectory(fd);
    if (!entries.ok()) {
      if (first_error_.ok()) first_error_ = entries.status();
      return;
    }
    bool writable = false;
    for (const DirectoryEntry& entry : *entries) {
      if (!writable && ::faccessat(fd, "", W_OK | X_OK, AT_EMPTY_PATH | AT_EACCESS) != 0) ::fchmod(fd, 0700);
      writable = true;
      RemoveEntry(fd, entry.name, entry.type, depth + 1);
    }
  }

  UniqueFd top_;
  std::vector<std::string> moved_;
  absl::Status first_error_;
};

}  // namespace

absl::Status RemoveTreeAt(int dir_fd, const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("remove: \"", name, "\" is not the name of an entry"));
  }
  return Remover().Remove(dir_fd, name);
}

absl::Status RemoveTree(const std::string& path) {
  std::string clean = path;
  while (clean.size() > 1 && clean.back() == '/') clean.pop_back();
  std::size_t slash = clean.rfind('/');
  std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : clean.substr(0, slash);
  absl::StatusOr<UniqueFd> directory = Open(parent, O_PATH | O_DIRECTORY);
  if (absl::IsNotFound(directory.status())) return absl::OkStatus();
  RETURN_IF_ERROR(directory.status());
  return Annotate(RemoveTreeAt(directory->get(), clean.substr(slash == std::string::npos ? 0 : slash + 1)), path);
}

}  // namespace cachalot::os
