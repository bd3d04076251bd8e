// The order in which a tree's entries travel, and what a path may look like.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cachalot::session {

// The part of a path before its last slash ("" without one) and the part after it.
absl::string_view ParentOf(absl::string_view path);
absl::string_view NameOf(absl::string_view path);

// Checks a sequence of entries: paths are relative, clean and never climb; every directory precedes its entries, which are
// strictly ascending by name; nothing comes back to a directory that was left. Depth and length are bounded.
class PathOrder {
 public:
  absl::Status Next(absl::string_view path, bool is_directory);

 private:
  struct Level {
    std::string directory;
    std::string last;  // name of its last entry
  };
  std::vector<Level> levels_ = {Level{}};
};

}  // namespace cachalot::session
