#include "base/path.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace cachalot {

std::string CleanPath(absl::string_view path) {
  const bool rooted = absl::StartsWith(path, "/");
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty() && parts.back() != "..") {
      parts.pop_back();
    } else if (!rooted) {
      parts.push_back(part);
    }
  }
  std::string clean = absl::StrCat(rooted ? "/" : "", absl::StrJoin(parts, "/"));
  return clean.empty() ? "." : clean;
}

std::string RootedPath(absl::string_view path) { return CleanPath(absl::StrCat("/", path)); }

std::string JoinPath(absl::string_view a, absl::string_view b) {
  if (a.empty()) return b.empty() ? "" : CleanPath(b);
  return CleanPath(absl::StrCat(a, "/", b));
}

std::string BaseName(absl::string_view path) {
  if (path.empty()) return ".";
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos || path.size() == 1) return std::string(path);
  return std::string(path.substr(slash + 1));
}

std::string DirName(absl::string_view path) {
  const std::size_t slash = path.rfind('/');
  return CleanPath(slash == absl::string_view::npos ? "." : path.substr(0, slash + 1));
}

bool IsBeneath(absl::string_view path, absl::string_view parent) {
  if (parent == "/" || parent == ".") return true;
  return absl::StartsWith(path, parent) && (path.size() == parent.size() || path[parent.size()] == '/');
}

}  // namespace cachalot
