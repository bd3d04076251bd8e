#include "session/tree/path_order.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tree/path_walk.h"

namespace cachalot::session {
namespace {

constexpr std::size_t kMaxName = 255;

absl::Status CheckShape(absl::string_view path) {
  if (path.empty() || path.size() > tree::kMaxPath) {
    return absl::InvalidArgumentError(absl::StrCat("path of ", path.size(), " bytes: invalid argument"));
  }
  if (path.front() == '/') {
    return absl::InvalidArgumentError(absl::StrCat("absolute path ", path, ": invalid argument"));
  }
  if (path.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("unclean path ", path, ": invalid argument"));
  }
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const absl::string_view name = path.substr(begin, end - begin);
    if (name == "..") {
      return absl::InvalidArgumentError(absl::StrCat("escape check ", path, ": invalid argument"));
    }
    if (name.empty() || name == "." || name.size() > kMaxName) {
      return absl::InvalidArgumentError(absl::StrCat("unclean path ", path, ": invalid argument"));
    }
    begin = end + 1;
  }
  return absl::OkStatus();
}

}  // namespace

absl::string_view ParentOf(absl::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == absl::string_view::npos ? absl::string_view() : path.substr(0, slash);
}

absl::string_view NameOf(absl::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == absl::string_view::npos ? path : path.substr(slash + 1);
}

absl::Status PathOrder::Next(absl::string_view path, bool is_directory) {
  if (absl::Status shape = CheckShape(path); !shape.ok()) {
    return shape;
  }
  const absl::string_view parent = ParentOf(path);
  const absl::string_view name = NameOf(path);
  while (levels_.size() > 1 && levels_.back().directory != parent) {
    levels_.pop_back();
  }
  Level& level = levels_.back();
  if (level.directory != parent || absl::string_view(level.last) >= name) {
    return absl::InvalidArgumentError(absl::StrCat("changes out of order: \"", path, "\" after \"", level.directory, "/", level.last, "\""));
  }
  level.last = std::string(name);
  if (is_directory) {
    levels_.push_back({std::string(path), ""});
  }
  return absl::OkStatus();
}

}  // namespace cachalot::session
