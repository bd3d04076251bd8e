#include "os/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::os {
namespace {

int OpenAt2(int dir_fd, const std::string& path, int flags, mode_t mode, std::uint64_t resolve) {
  if (path.find('\0') != std::string::npos) {  // the kernel would open what the path up to there names
    errno = EINVAL;
    return -1;
  }
  struct open_how how = {};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = resolve;
  while (true) {
    int fd = static_cast<int>(::syscall(SYS_openat2, dir_fd, path.c_str(), &how, sizeof how));
    // EAGAIN: a rename elsewhere raced with the resolution of "..".
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return fd;
  }
}

std::string ParentOf(const std::string& path) {
  std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

std::string RelativeToRoot(absl::string_view path) {
  std::string result(path);
  while (!result.empty() && result.back() == '/') result.pop_back();
  return result;
}

}  // namespace

absl::StatusOr<std::string> ReadAll(int fd, std::size_t max_bytes, absl::string_view name) {
  std::string content;
  struct stat st = {};
  std::size_t room = 4096;
  if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) room = static_cast<std::size_t>(st.st_size) + 1;
  while (true) {
    std::size_t have = content.size();
    content.resize(std::min(have + room, max_bytes + 1));
    ssize_t n = ::read(fd, content.data() + have, content.size() - have);
    if (n < 0 && errno == EINTR)
      n = 0, content.resize(have);
    else if (n < 0)
      return ErrnoError(absl::StrCat("read ", name));
    else if (n == 0)
      return content.resize(have), content;
    content.resize(have + static_cast<std::size_t>(n));
    if (content.size() > max_bytes) return absl::ResourceExhaustedError(absl::StrCat(name, " is larger than ", max_bytes, " bytes"));
    room = std::max<std::size_t>(content.size(), 4096);
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path, std::size_t max_bytes) {
  ASSIGN_OR_RETURN(UniqueFd fd, Open(path, O_RDONLY));
  return ReadAll(fd.get(), max_bytes, path);
}

absl::Status WriteAll(int fd, absl::string_view bytes, absl::string_view name) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno != EINTR) return ErrnoError(absl::StrCat("write ", name));
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status WriteFileAtomic(const std::string& path, absl::string_view bytes, mode_t mode, Durability durability) {
  std::string temporary = absl::StrCat(path, ".", RandomId(), ".tmp");
  const UniqueFd fd(OpenAt2(AT_FDCWD, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode, 0));
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
  absl::Status status = WriteAll(fd.get(), bytes, temporary);
  if (status.ok() && ::fchmod(fd.get(), mode) != 0) status = ErrnoError(absl::StrCat("chmod ", temporary));
  if (status.ok() && durability == Durability::kSynced && ::fsync(fd.get()) != 0) status = ErrnoError(absl::StrCat("fsync ", temporary));
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) status = ErrnoError(absl::StrCat("rename ", temporary, " to ", path));
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  if (durability == Durability::kSynced) {
    std::string parent = ParentOf(path);
    if (parent.empty()) parent.assign(1, path.front() == '/' ? '/' : '.');
    ASSIGN_OR_RETURN(UniqueFd directory, OpenDirectory(parent));
    if (::fsync(directory.get()) != 0) return ErrnoError(absl::StrCat("fsync ", parent));
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> Open(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd;
  do {
    fd.reset(::open(path.c_str(), flags | O_CLOEXEC, mode));
  } while (!fd.valid() && errno == EINTR);
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<UniqueFd> OpenDirectory(const std::string& path) { return Open(path, O_RDONLY | O_DIRECTORY); }

absl::StatusOr<UniqueFd> OpenInRoot(int root_fd, absl::string_view path, int flags, mode_t mode) {
  UniqueFd fd(OpenAt2(root_fd, std::string(path), flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS));
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<UniqueFd> OpenBeneath(int dir_fd, absl::string_view path, int flags, mode_t mode) {
  UniqueFd fd(OpenAt2(dir_fd, std::string(path), flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS));
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<struct stat> Stat(int fd) {
  struct stat st;
  if (::fstatat(fd, "", &st, AT_EMPTY_PATH) != 0) return ErrnoError("stat");
  return st;
}

absl::StatusOr<struct stat> Lstat(const std::string& path) {
  struct stat st;
  if (::lstat(path.c_str(), &st) != 0) return ErrnoError(absl::StrCat("lstat ", path));
  return st;
}

absl::StatusOr<std::string> ReadLink(int dir_fd, const std::string& name) {
  char target[PATH_MAX];
  ssize_t n = ::readlinkat(dir_fd, name.c_str(), target, sizeof target);
  if (n < 0) return ErrnoError(absl::StrCat("readlink ", name));
  return std::string(target, static_cast<std::size_t>(n));
}

std::string DescriptorPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

absl::Status MakeDirectories(const std::string& path, mode_t mode) {
  if (path.empty() || ::mkdir(path.c_str(), mode) == 0) return absl::OkStatus();
  if (errno == ENOENT) {
    std::string clean = RelativeToRoot(path);
    RETURN_IF_ERROR(MakeDirectories(ParentOf(clean), mode));
    if (::mkdir(clean.c_str(), mode) == 0) return absl::OkStatus();
  }
  int error = errno;
  struct stat st;
  if (error == EEXIST && ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) return absl::OkStatus();
  return ErrnoError(absl::StrCat("mkdir ", path), error);
}

absl::StatusOr<std::vector<DirectoryEntry>> ListDirectory(int dir_fd) {
  std::vector<DirectoryEntry> entries;
  if (::lseek(dir_fd, 0, SEEK_SET) < 0) return ErrnoError("rewind directory");
  alignas(struct dirent64) char buffer[32768];
  while (true) {
    ssize_t n = ::getdents64(dir_fd, buffer, sizeof buffer);
    if (n < 0) return ErrnoError("read directory");
    if (n == 0) return entries;
    for (ssize_t at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const struct dirent64*>(buffer + at);
      at += entry->d_reclen;
      absl::string_view name = entry->d_name;
      if (name != "." && name != "..") entries.push_back({std::string(name), entry->d_type});
    }
  }
}

absl::StatusOr<std::vector<DirectoryEntry>> ListDirectory(const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenDirectory(path));
  return ListDirectory(fd.get());
}

}  // namespace cachalot::os
