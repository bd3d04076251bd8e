#include "op/link_resolver.h"

#include <deque>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/path.h"
#include "base/status_macros.h"

namespace cachalot::op {
namespace {

constexpr int kMaxLinks = 255;

std::string Child(const std::string& directory, const std::string& name) { return absl::StrCat(directory == "/" ? "" : directory, "/", name); }

}  // namespace

EntryKind KindOf(const std::optional<struct stat>& st) {
  if (!st.has_value()) return EntryKind::kNone;
  if (S_ISDIR(st->st_mode)) return EntryKind::kDirectory;
  return S_ISLNK(st->st_mode) ? EntryKind::kLink : EntryKind::kOther;
}

absl::StatusOr<std::string> LinkResolver::Resolve(absl::string_view path, bool follow_last, const Look& look, const Read& read_link) {
  std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  std::deque<std::string> rest(parts.begin(), parts.end());
  std::string current = "/";
  bool exists = true;
  int links = 0;
  while (!rest.empty()) {
    const std::string part = std::move(rest.front());
    rest.pop_front();
    if (part == ".") continue;
    if (part == "..") {
      current = DirName(current);
      continue;
    }
    std::string next = Child(current, part);
    if (!exists || directories_.contains(next) || (rest.empty() && !follow_last)) {
      current = std::move(next);
      continue;
    }
    ASSIGN_OR_RETURN(const EntryKind kind, look(next));
    if (kind == EntryKind::kLink) {
      if (++links > kMaxLinks) return absl::FailedPreconditionError(absl::StrCat(path, ": too many links"));
      ASSIGN_OR_RETURN(const std::string target, read_link(next));
      std::vector<std::string> target_parts = absl::StrSplit(target, '/', absl::SkipEmpty());
      rest.insert(rest.begin(), target_parts.begin(), target_parts.end());
      if (!target.empty() && target[0] == '/') current = "/";
      continue;
    }
    if (kind == EntryKind::kDirectory) directories_.insert(next);
    exists = kind != EntryKind::kNone;
    current = std::move(next);
  }
  return current;
}

}  // namespace cachalot::op
