// Slash-separated paths as text; nothing here touches a file system.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace cachalot {

// The shortest equivalent of `path`, as Go's path.Clean: no "//", "." or inner "..", no trailing slash; "" gives ".".
std::string CleanPath(absl::string_view path);

// `path` as seen from the root: clean, beginning with "/", unable to climb above it.
std::string RootedPath(absl::string_view path);

// `a` and `b` with one slash between them, cleaned.
std::string JoinPath(absl::string_view a, absl::string_view b);

// The last component ("/a/b/" gives "b", "/" gives "/") and what is before it ("a" gives ".", "/a" gives "/").
std::string BaseName(absl::string_view path);
std::string DirName(absl::string_view path);

// Whether clean `path` is `parent` or lies beneath it.
bool IsBeneath(absl::string_view path, absl::string_view parent);

}  // namespace cachalot
