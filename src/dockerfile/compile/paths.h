// Paths inside a stage, by the rules of the system that the stage is for.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {

// Slashes as Unix has them; backslashes are separators on Windows only.
std::string ToSlash(absl::string_view path, absl::string_view os);

// Whether `path` begins at the root, after a drive letter on Windows.
bool IsAbsolute(absl::string_view path, absl::string_view os);

// `path` seen from `parent`, absolute, with slashes, without a drive letter (which must be C). An empty path is the parent.
// `keep_slash` keeps a "/" or "/." at the end.
absl::StatusOr<std::string> NormalizePath(absl::string_view parent, absl::string_view path, absl::string_view os, bool keep_slash);

// The working directory that WORKDIR `path` leads to, with the system's separators.
absl::StatusOr<std::string> NormalizeWorkdir(absl::string_view current, absl::string_view path, absl::string_view os);

// `path` without a drive letter, cleaned on Windows, unchanged elsewhere.
absl::StatusOr<std::string> WithoutDrive(absl::string_view path, absl::string_view os, bool keep_slash);

}  // namespace cachalot::dockerfile
