// Archives as build contexts and sources: telling them from other files, and their age.
#pragma once

#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cachalot::dockerfile {

// Whether a file that begins with `head` is a tar archive, plain or compressed with gzip, bzip2 or xz.
bool LooksLikeArchive(absl::string_view head);

// The time of the youngest file in a tar archive, compressed or not; none without files, or when it is no archive.
std::optional<absl::Time> LatestFileTime(absl::string_view archive);

}  // namespace cachalot::dockerfile
