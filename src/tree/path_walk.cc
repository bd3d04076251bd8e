#include "tree/path_walk.h"

#include <cerrno>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::tree {
namespace {

constexpr int kMaxLinks = 255;
constexpr std::size_t kTold = 200;  // bytes of a path in an error

// Puts the names of `path` on the stack of names to come, the first one on top.
void Push(absl::string_view path, std::vector<std::string>& ahead) {
  const std::vector<std::string> names = absl::StrSplit(path, '/', absl::SkipEmpty());
  ahead.insert(ahead.end(), names.rbegin(), names.rend());
}

}  // namespace

EntryKind KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return EntryKind::kDirectory;
  return S_ISLNK(mode) ? EntryKind::kLink : EntryKind::kOther;
}

std::string PathEnd::Path() const {
  std::string path;
  for (const auto* names : {&way, &rest}) {
    for (const std::string& name : *names) absl::StrAppend(&path, "/", name);
  }
  return path.empty() ? "/" : path;
}

std::string PathOf(const std::vector<std::string>& way, const std::string& name) {
  std::string path;
  for (const std::string& directory : way) absl::StrAppend(&path, "/", directory);
  absl::StrAppend(&path, "/", name);
  return path;
}

absl::Status CheckPathLength(absl::string_view what, absl::string_view path) {
  if (path.size() <= kMaxPath) return absl::OkStatus();
  return ErrnoError(absl::StrCat(what, " ", path.substr(0, kTold), "..."), ENAMETOOLONG);
}

absl::Status CheckNoNullByte(absl::string_view path) {
  if (!absl::StrContains(path, '\0')) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("path \"", absl::Utf8SafeCEscape(path.substr(0, kTold)), "\" holds a null byte"));
}

absl::StatusOr<PathEnd> WalkPath(PathSteps& steps, absl::string_view path, bool follow_last) {
  RETURN_IF_ERROR(CheckPathLength("lstat", path));
  RETURN_IF_ERROR(CheckNoNullByte(path));
  std::vector<std::string> ahead;
  Push(path, ahead);
  PathEnd end;
  std::string target;
  std::size_t length = 0;  // of the way
  int links = 0;
  while (!ahead.empty()) {
    std::string name = std::move(ahead.back());
    ahead.pop_back();
    if (name == ".") continue;
    if (name == "..") {
      std::vector<std::string>& last = end.rest.empty() ? end.way : end.rest;
      if (last.empty()) continue;
      if (end.rest.empty()) length -= last.back().size() + 1;
      last.pop_back();
      continue;
    }
    if (!end.rest.empty()) {
      end.rest.push_back(std::move(name));
      continue;
    }
    ASSIGN_OR_RETURN(const EntryKind kind, steps.Look(end.way, name, &target));
    if (kind == EntryKind::kDirectory) {
      // Links can lead deeper than any path says.
      length += name.size() + 1;
      if (length > kMaxPath) return CheckPathLength("lstat", PathOf(end.way, name));
      end.way.push_back(std::move(name));
    } else if (kind == EntryKind::kLink && (follow_last || !ahead.empty())) {
      if (++links > kMaxLinks) return absl::FailedPreconditionError(absl::StrCat(path, ": too many links"));
      if (absl::StartsWith(target, "/")) {
        end.way.clear();
        length = 0;
      }
      RETURN_IF_ERROR(CheckNoNullByte(target));
      Push(target, ahead);
    } else {
      end.kind = kind;
      end.rest.push_back(std::move(name));
    }
  }
  if (end.rest.empty()) end.kind = EntryKind::kDirectory;
  return end;
}

}  // namespace cachalot::tree
