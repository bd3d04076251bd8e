#include "op/attributes.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

constexpr mode_t kPermissions = 07777;
constexpr mode_t kEverybody = 06777;  // what "a" of a symbolic mode means

// Calls `each` with the names in a list of extended attributes.
template <typename Each>
void EachXattr(const std::string& list, const Each& each) {
  for (std::size_t at = 0; at < list.size();) {
    const std::string name = list.c_str() + at;
    at += name.size() + 1;
    if (!absl::StartsWith(name, "trusted.overlay.") && !absl::StartsWith(name, "user.overlay.")) each(name);
  }
}

// Reads what `call(buffer, size)` gives: almost always it fits the first time, and nearly always there is nothing.
template <typename Call>
std::string ReadXattr(const Call& call) {
  char small[512];
  ssize_t size = call(small, sizeof small);
  if (size >= 0) return std::string(small, static_cast<std::size_t>(size));
  if (errno != ERANGE || (size = call(nullptr, 0)) <= 0) return "";
  std::string large(static_cast<std::size_t>(size), '\0');
  size = call(large.data(), large.size());
  large.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return large;
}

// Copies the bytes [at, end).
absl::Status CopyRange(int from, int to, off_t at, off_t end) {
  constexpr off_t kMinForKernel = 1 << 20;  // below, a read and a write cost less
  while (end - at >= kMinForKernel) {
    off_t out = at;
    if (::copy_file_range(from, &at, to, &out, end - at, 0) <= 0) break;  // a file system that cannot
  }
  char buffer[65536];
  while (at < end) {
    const ssize_t n = ::pread(from, buffer, std::min<std::size_t>(sizeof buffer, end - at), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError("read");
    if (n == 0) return absl::DataLossError("file ends early");
    if (::lseek(to, at, SEEK_SET) < 0) return ErrnoError("seek");
    RETURN_IF_ERROR(os::WriteAll(to, absl::string_view(buffer, static_cast<std::size_t>(n)), "copy"));
    at += n;
  }
  return absl::OkStatus();
}

}  // namespace

Attributes AttributesOf(const struct stat& st) { return {st.st_uid, st.st_gid, st.st_mode, st.st_atim, st.st_mtim}; }

struct timespec TimeOf(std::int64_t ns) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  std::int64_t seconds = ns / kSecond, rest = ns % kSecond;
  if (rest < 0) --seconds, rest += kSecond;
  return {static_cast<time_t>(seconds), static_cast<long>(rest)};
}

absl::Status SetAttributes(int directory, const std::string& name, const Attributes& attributes) {
  const int flags = AT_SYMLINK_NOFOLLOW | (name.empty() ? AT_EMPTY_PATH : 0);
  if (::fchownat(directory, name.c_str(), attributes.uid, attributes.gid, flags) != 0) return ErrnoError(absl::StrCat("chown ", name));
  if (!S_ISLNK(attributes.mode)) {
    const mode_t mode = attributes.mode & kPermissions;
    const int result = name.empty() ? ::fchmod(directory, mode) : ::fchmodat(directory, name.c_str(), mode, AT_SYMLINK_NOFOLLOW);
    if (result != 0) return ErrnoError(absl::StrCat("chmod ", name));
  }
  if (attributes.atime.tv_nsec == UTIME_OMIT && attributes.mtime.tv_nsec == UTIME_OMIT) return absl::OkStatus();
  const struct timespec times[2] = {attributes.atime, attributes.mtime};
  const int result = name.empty() ? ::futimens(directory, times) : ::utimensat(directory, name.c_str(), times, AT_SYMLINK_NOFOLLOW);
  if (result != 0) return ErrnoError(absl::StrCat("utime ", name));
  return absl::OkStatus();
}

void CopyXattrs(int from, int to) {
  const std::string list = ReadXattr([&](char* buffer, std::size_t size) { return ::flistxattr(from, buffer, size); });
  EachXattr(list, [&](const std::string& name) {
    const std::string value = ReadXattr([&](char* buffer, std::size_t size) { return ::fgetxattr(from, name.c_str(), buffer, size); });
    (void)::fsetxattr(to, name.c_str(), value.data(), value.size(), 0);
  });
}

void CopyXattrs(const std::string& from, const std::string& to) {
  const std::string list = ReadXattr([&](char* buffer, std::size_t size) { return ::llistxattr(from.c_str(), buffer, size); });
  EachXattr(list, [&](const std::string& name) {
    const std::string value = ReadXattr([&](char* buffer, std::size_t size) { return ::lgetxattr(from.c_str(), name.c_str(), buffer, size); });
    (void)::lsetxattr(to.c_str(), name.c_str(), value.data(), value.size(), 0);
  });
}

absl::Status CopyData(int from, int to) {
  ASSIGN_OR_RETURN(const struct stat st, os::Stat(from));
  if (st.st_size == 0 || ::ioctl(to, FICLONE, from) == 0) return absl::OkStatus();
  constexpr off_t kBlock = 512;  // of st_blocks
  if (st.st_blocks * kBlock >= st.st_size) return CopyRange(from, to, 0, st.st_size);
  for (off_t at = 0; at < st.st_size;) {
    const off_t data = ::lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // a hole to the end
    if (data < 0) return ErrnoError("seek");
    at = ::lseek(from, data, SEEK_HOLE);
    if (at < 0) return ErrnoError("seek");
    RETURN_IF_ERROR(CopyRange(from, to, data, at));
  }
  return ::ftruncate(to, st.st_size) == 0 ? absl::OkStatus() : ErrnoError("truncate");
}

bool SymbolicMode::ParseOperation(absl::string_view clause, mode_t who, std::size_t* at) {
  const char operation = clause[(*at)++];
  if (!absl::StrContains("+-=", operation)) return false;
  const bool special = who == 0 || (who & ~S_IRWXO) != 0;  // others have no special bits
  const mode_t affected = who == 0 ? kEverybody : who;
  mode_t bits = 0, conditional = 0;
  bool assigned = operation != '=';
  const auto add = [&] {
    if (!assigned) changes_.push_back({Kind::kRemove, affected | (bits & S_ISVTX)});
    assigned = true;
    if (bits != 0) changes_.push_back({operation == '-' ? Kind::kRemove : Kind::kAdd, bits & (affected | S_ISVTX)});
    if (conditional != 0) changes_.push_back({Kind::kAddIfExecutable, conditional & affected});
    bits = conditional = 0;
  };
  for (; *at < clause.size() && !absl::StrContains("+-=", clause[*at]); ++*at) {
    const char c = clause[*at];
    switch (c) {
      case 'r': bits |= 0444; break;
      case 'w': bits |= 0222; break;
      case 'x': bits |= 0111; break;
      case 'X': (operation == '-' ? bits : conditional) |= 0111; break;
      case 's': bits |= special ? S_ISUID | S_ISGID : 0; break;
      case 't': bits |= special ? S_ISVTX : 0; break;
      case 'u':
      case 'g':
      case 'o':
        if (bits == 0) assigned = true;
        add();
        changes_.push_back({Kind::kCopy, affected & 0777, c == 'u' ? 6 : c == 'g' ? 3 : 0, operation});
        break;
      default: return false;
    }
  }
  add();
  return true;
}

bool SymbolicMode::ParseClause(absl::string_view clause) {
  mode_t who = 0;
  std::size_t at = 0;
  for (; at < clause.size() && absl::StrContains("ugoa", clause[at]); ++at) {
    const char c = clause[at];
    who |= c == 'u' ? S_ISUID | S_IRWXU : c == 'g' ? S_ISGID | S_IRWXG : c == 'o' ? S_IRWXO : kEverybody;
  }
  if (at == clause.size()) return false;
  while (at < clause.size()) {
    if (!ParseOperation(clause, who, &at)) return false;
  }
  return true;
}

absl::StatusOr<SymbolicMode> SymbolicMode::Parse(absl::string_view text) {
  SymbolicMode result;
  for (const absl::string_view clause : absl::StrSplit(text, ',')) {
    if (!result.ParseClause(clause)) return absl::InvalidArgumentError(absl::StrCat("invalid mode ", text));
  }
  return result;
}

mode_t SymbolicMode::Apply(mode_t mode) const {
  mode_t result = mode;
  for (const Change& change : changes_) {
    const mode_t from = (result >> change.from_shift) & 7;
    const mode_t copied = (from | from << 3 | from << 6) & change.bits;
    switch (change.kind) {
      case Kind::kAdd: result |= change.bits; break;
      case Kind::kRemove: result &= ~change.bits; break;
      case Kind::kAddIfExecutable: result |= S_ISDIR(mode) || (mode & 0111) != 0 ? change.bits : 0; break;
      case Kind::kCopy:
        if (change.operation == '=') result &= ~change.bits;
        result = change.operation == '-' ? result & ~copied : result | copied;
        break;
    }
  }
  return result;
}

}  // namespace cachalot::op
