// Walking a directory as the file tree protocol sends it: filtered, in order, with hard links named by their first path.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/pattern_matcher.h"
#include "session/tree/stat.h"

namespace cachalot::session {

// Which entries of a tree are sent. Patterns as in .dockerignore; directories above an included entry come along.
class TreeFilter {
 public:
  struct Patterns {
    std::vector<std::string> include = {}, exclude = {};
    std::vector<std::string> follow = {};  // paths, with wildcards, that are included together with what their links lead to
  };
  // `root` is the directory that `follow` is resolved in.
  static absl::StatusOr<TreeFilter> Create(const Patterns& patterns, int root);

  // What a directory passes on to its entries.
  struct Inherited {
    PatternMatcher::ParentMatches include, exclude;
  };
  struct Verdict {
    bool sent = true;
    bool entered = true;  // a directory whose entries may be sent
  };
  Verdict Judge(absl::string_view path, bool is_directory, const Inherited& parent, Inherited* own) const;
  bool passes_everything() const { return !include_.has_value() && !exclude_.has_value(); }

 private:
  std::optional<PatternMatcher> include_, exclude_;
  // No wildcards but a trailing one: directories that cannot lead to a match need not be entered.
  bool plain_includes_ = true, plain_exceptions_ = true;
};

// Calls `visit` for each entry, in the order that PathOrder checks. Entries that vanish meanwhile are left out.
absl::Status WalkTree(int root, const TreeFilter& filter, const std::function<absl::Status(Stat&)>& visit);

// The paths to include so that `paths` and everything that their links lead to, inside `root`, is sent. Nullopt: the whole tree.
absl::StatusOr<std::optional<std::vector<std::string>>> FollowLinks(int root, const std::vector<std::string>& paths);
// Drops paths beneath their predecessor; nullopt when "." is among them.
std::optional<std::vector<std::string>> DedupePaths(const std::vector<std::string>& paths);

}  // namespace cachalot::session
