#include "build/tree_reader.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/pattern_matcher.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::build {
namespace {

constexpr std::size_t kMaxFileBytes = 64 << 20;

// Go's os.FileMode, which is what the wire has.
std::uint32_t GoMode(mode_t mode) {
  std::uint32_t result = mode & 0777;
  if ((mode & S_ISUID) != 0) result |= 1u << 23;
  if ((mode & S_ISGID) != 0) result |= 1u << 22;
  if ((mode & S_ISVTX) != 0) result |= 1u << 20;
  switch (mode & S_IFMT) {
    case S_IFDIR: result |= 1u << 31; break;
    case S_IFLNK: result |= 1u << 27; break;
    case S_IFBLK: result |= 1u << 26; break;
    case S_IFCHR: result |= (1u << 26) | (1u << 21); break;
    case S_IFIFO: result |= 1u << 25; break;
    case S_IFSOCK: result |= 1u << 24; break;
    default: break;
  }
  return result;
}

absl::StatusOr<llb::FileStat> Describe(op::SourceTree& tree, const std::string& path, const struct stat& st) {
  llb::FileStat result;
  result.path = BaseName(path);
  result.mode = GoMode(st.st_mode);
  result.uid = st.st_uid;
  result.gid = st.st_gid;
  result.mod_time_ns = st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec;
  if (!S_ISDIR(st.st_mode)) result.size = st.st_size;
  if (S_ISLNK(st.st_mode)) {
    ASSIGN_OR_RETURN(result.link_name, tree.ReadLink(path));
  }
  return result;
}

// Errors name the path as the frontend wrote it.
absl::StatusOr<struct stat> Find(op::SourceTree& tree, const char* call, const std::string& path, std::string& resolved) {
  ASSIGN_OR_RETURN(resolved, tree.Resolve(path, true));
  absl::StatusOr<struct stat> st = tree.Lstat(resolved);
  if (!st.ok() && absl::IsNotFound(st.status())) return ErrnoError(absl::StrCat(call, " ", path), ENOENT);
  return st;
}

}  // namespace

absl::StatusOr<std::string> ReadTreeFile(op::SourceTree& tree, const std::string& path, std::int64_t offset, std::int64_t length) {
  std::string resolved;
  ASSIGN_OR_RETURN(const struct stat st, Find(tree, "open", path, resolved));
  if (!S_ISREG(st.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  if (offset < 0 || length < 0) return absl::InvalidArgumentError(absl::StrCat("invalid range of ", path));
  // Their sum may be more than a number holds.
  std::int64_t size = std::max<std::int64_t>(st.st_size - offset, 0);
  if (length > 0) size = std::min(size, length);
  if (size > static_cast<std::int64_t>(kMaxFileBytes)) return absl::ResourceExhaustedError(absl::StrCat(path, " is larger than 64 MiB"));
  ASSIGN_OR_RETURN(const UniqueFd fd, tree.OpenFile(resolved));
  std::string data(size, '\0');
  std::size_t done = 0;
  while (done < data.size()) {
    const ssize_t n = ::pread(fd.get(), data.data() + done, data.size() - done, offset + static_cast<std::int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(absl::StrCat("read ", path));
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  data.resize(done);
  return data;
}

absl::StatusOr<std::vector<llb::FileStat>> ReadTreeDirectory(op::SourceTree& tree, const std::string& path, const std::string& include_pattern) {
  std::string resolved;
  ASSIGN_OR_RETURN(const struct stat directory, Find(tree, "open", path, resolved));
  if (!S_ISDIR(directory.st_mode)) return ErrnoError(absl::StrCat("open ", path), ENOTDIR);
  std::vector<std::string> patterns;
  if (!include_pattern.empty()) patterns.push_back(include_pattern);
  ASSIGN_OR_RETURN(const PatternMatcher matcher, PatternMatcher::Create(patterns));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, tree.List(resolved));
  std::vector<llb::FileStat> entries;
  for (const std::string& name : names) {
    if (!patterns.empty() && !matcher.Matches(name)) continue;
    const std::string child = JoinPath(resolved, name);
    ASSIGN_OR_RETURN(const std::optional<struct stat> st, tree.TryLstat(child));
    if (!st.has_value()) continue;  // a container has removed it meanwhile
    ASSIGN_OR_RETURN(llb::FileStat entry, Describe(tree, child, *st));
    entries.push_back(std::move(entry));
  }
  return entries;
}

absl::StatusOr<llb::FileStat> StatTreeFile(op::SourceTree& tree, const std::string& path) {
  std::string resolved;
  ASSIGN_OR_RETURN(const struct stat st, Find(tree, "lstat", path, resolved));
  return Describe(tree, resolved, st);
}

}  // namespace cachalot::build
