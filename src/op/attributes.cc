#include "op/attributes.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

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
  bool first = true;
  while (true) {
    const ssize_t n = ::copy_file_range(from, nullptr, to, nullptr, 1 << 30, 0);
    if (n == 0 && !first) return absl::OkStatus();
    if (n <= 0) break;  // a file system that cannot, or one whose files have no size (the first call then gives 0)
    first = false;
  }
  char buffer[65536];
  while (true) {
    const ssize_t n = ::read(from, buffer, sizeof buffer);
    if (n == 0) return absl::OkStatus();
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError("read");
    RETURN_IF_ERROR(os::WriteAll(to, absl::string_view(buffer, static_cast<std::size_t>(n)), "copy"));
  }
}

absl::StatusOr<SymbolicMode> SymbolicMode::Parse(absl::string_view text) {
  SymbolicMode result;
  const absl::Status bad = absl::InvalidArgumentError(absl::StrCat("invalid mode ", text));
  for (absl::string_view clause : absl::StrSplit(text, ',')) {
    mode_t who = 0;
    std::size_t i = 0;
    for (; i < clause.size() && absl::StrContains("ugoa", clause[i]); ++i) {
      who |= clause[i] == 'u' ? S_IRWXU : clause[i] == 'g' ? S_IRWXG : clause[i] == 'o' ? S_IRWXO : 0777;
    }
    if (who == 0) who = 0777;
    if (i == clause.size()) return bad;
    while (i < clause.size()) {
      Change change;
      change.who = who;
      change.operation = clause[i++];
      if (!absl::StrContains("+-=", change.operation)) return bad;
      for (; i < clause.size() && !absl::StrContains("+-=", clause[i]); ++i) {
        switch (clause[i]) {
          case 'r': change.bits |= 4; break;
          case 'w': change.bits |= 2; break;
          case 'x': change.bits |= 1; break;
          case 'X': change.conditional_x = true; break;
          case 's': change.set_id = true; break;
          case 't': change.sticky = true; break;
          case 'u':
          case 'g':
          case 'o': change.copy_from = clause[i]; break;
          default: return bad;
        }
      }
      result.changes_.push_back(change);
    }
  }
  return result;
}

mode_t SymbolicMode::Apply(mode_t mode) const {
  for (const Change& change : changes_) {
    mode_t bits = change.bits;
    if (change.conditional_x && (S_ISDIR(mode) || (mode & 0111) != 0)) bits |= 1;
    if (change.copy_from != 0) bits |= (mode >> (change.copy_from == 'u' ? 6 : change.copy_from == 'g' ? 3 : 0)) & 7;
    mode_t set = (bits | bits << 3 | bits << 6) & change.who;
    mode_t cleared = change.who;
    if (change.set_id) set |= ((change.who & S_IRWXU) != 0 ? S_ISUID : 0) | ((change.who & S_IRWXG) != 0 ? S_ISGID : 0);
    if (change.sticky) set |= S_ISVTX;
    if ((change.who & S_IRWXU) != 0) cleared |= S_ISUID;
    if ((change.who & S_IRWXG) != 0) cleared |= S_ISGID;
    if (change.operation == '+') {
      mode |= set;
    } else if (change.operation == '-') {
      mode &= ~set;
    } else {
      mode = (mode & ~cleared) | set;
    }
  }
  return mode;
}

}  // namespace cachalot::op
