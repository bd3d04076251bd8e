#include "session/tree/stat.h"

#include <fcntl.h>
#include <linux/limits.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace cachalot::session {
namespace {

constexpr std::pair<mode_t, std::uint32_t> kTypes[] = {{S_IFREG, 0},
                                                       {S_IFDIR, kModeDir},
                                                       {S_IFLNK, kModeSymlink},
                                                       {S_IFBLK, kModeDevice},
                                                       {S_IFCHR, kModeDevice | kModeCharDevice},
                                                       {S_IFIFO, kModeNamedPipe},
                                                       {S_IFSOCK, kModeSocket}};
constexpr std::pair<mode_t, std::uint32_t> kBits[] = {{S_ISUID, kModeSetuid}, {S_ISGID, kModeSetgid}, {S_ISVTX, kModeSticky}};

// A file may change again within a tick of the kernel's clock for files without its times showing it: 10 ms at the most.
constexpr std::int64_t kSlowestTickNs = 20'000'000;

std::int64_t NanosOf(const timespec& time) { return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

// The attributes that are compared; a system.posix_acl may be rewritten by the file system.
bool IsComparedXattr(absl::string_view name) { return IsAcceptedXattr(name) && !absl::StartsWith(name, "system."); }

// listxattrat(2), in the kernel since 6.13; the number is the same on all architectures.
constexpr long kListXattrAt = 465;

// Three times as fast as the way through /proc, and most files have nothing to list.
ssize_t ListXattrsAt(int directory, const std::string& name, char* out, std::size_t size, std::string& path) {
  static std::atomic<bool> missing = false;
  if (!missing.load(std::memory_order_relaxed)) {
    const long listed = syscall(kListXattrAt, directory, name.c_str(), AT_SYMLINK_NOFOLLOW, out, size);
    if (listed >= 0 || (errno != ENOSYS && errno != EPERM)) {
      return listed;
    }
    missing = true;
  }
  path = absl::StrCat("/proc/self/fd/", directory, "/", name);
  return llistxattr(path.c_str(), out, size);
}

}  // namespace

std::uint32_t GoMode(mode_t mode) {
  std::uint32_t result = mode & 0777;
  for (const auto& [unix_type, go_type] : kTypes) {
    if ((mode & S_IFMT) == unix_type) {
      result |= go_type;
    }
  }
  for (const auto& [unix_bit, go_bit] : kBits) {
    if ((mode & unix_bit) != 0) {
      result |= go_bit;
    }
  }
  return result;
}

absl::StatusOr<mode_t> UnixMode(std::uint32_t go_mode) {
  mode_t result = go_mode & 0777;
  for (const auto& [unix_bit, go_bit] : kBits) {
    if ((go_mode & go_bit) != 0) {
      result |= unix_bit;
    }
  }
  for (const auto& [unix_type, go_type] : kTypes) {
    if ((go_mode & kModeType) == go_type && unix_type != S_IFSOCK) {
      return result | unix_type;
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("file mode ", absl::Hex(go_mode), " cannot be represented"));
}

timespec TimespecOf(std::int64_t nanoseconds) {
  constexpr std::int64_t kBillion = 1'000'000'000;
  std::int64_t seconds = nanoseconds / kBillion;
  std::int64_t rest = nanoseconds % kBillion;
  if (rest < 0) {
    rest += kBillion;
    --seconds;
  }
  timespec result{};
  result.tv_sec = seconds;
  result.tv_nsec = rest;
  return result;
}

std::uint64_t ChangeMark(const struct stat& st) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const std::int64_t changed = NanosOf(st.st_ctim), looked = NanosOf(now);
  std::uint64_t mark = 0;
  for (const std::uint64_t part : {static_cast<std::uint64_t>(st.st_dev), static_cast<std::uint64_t>(st.st_ino), static_cast<std::uint64_t>(changed),
                                   static_cast<std::uint64_t>(looked - changed < kSlowestTickNs ? looked : 0)}) {
    mark = (mark ^ part) * 0x9E3779B97F4A7C15;  // of the golden ratio: spreads what differs in few bits
    mark ^= mark >> 32;
  }
  return mark | 1;
}

timespec KeptMark(std::uint64_t mark) {
  timespec time{};
  time.tv_sec = static_cast<time_t>(mark & 0x7FFFFFFF);  // what every file system can keep
  time.tv_nsec = static_cast<long>((mark >> 31) % 1'000'000'000);
  return time;
}

Xattrs ReadXattrs(int directory, const std::string& name) {
  Xattrs result;
  std::string path;
  char names[4096];
  std::string long_names;
  const char* list = names;
  ssize_t size = ListXattrsAt(directory, name, names, sizeof(names), path);
  if (size < 0 && errno == ERANGE) {
    long_names.resize(XATTR_LIST_MAX);
    size = ListXattrsAt(directory, name, long_names.data(), long_names.size(), path);
    list = long_names.data();
  }
  std::string value;
  for (const char* at = list; size > 0 && at < list + size; at += std::char_traits<char>::length(at) + 1) {
    path = absl::StrCat("/proc/self/fd/", directory, "/", name);
    value.resize(XATTR_SIZE_MAX);
    const ssize_t value_size = lgetxattr(path.c_str(), at, value.data(), value.size());
    if (value_size >= 0) {
      result[at] = value.substr(0, static_cast<std::size_t>(value_size));
    }
  }
  return result;
}

bool IsAcceptedXattr(absl::string_view name) {
  if (absl::StartsWith(name, "user.")) {
    return !absl::StartsWith(name, "user.overlay.");
  }
  return name == "security.capability" || name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

bool SameXattrs(const Xattrs& a, const Xattrs& b) {
  const auto covers = [](const Xattrs& all, const Xattrs& some) {
    for (const auto& [name, value] : some) {
      if (!IsComparedXattr(name)) {
        continue;
      }
      const auto found = all.find(name);
      if (found == all.end() || found->second != value) {
        return false;
      }
    }
    return true;
  };
  return covers(a, b) && covers(b, a);
}

}  // namespace cachalot::session
