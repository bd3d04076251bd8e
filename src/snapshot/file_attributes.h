// Owners, modes, times and extended attributes of files by descriptor and name.
#pragma once

#include <sys/stat.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::snapshot {

// All extended attributes of an open file, without overlayfs's own.
absl::StatusOr<std::map<std::string, std::string>> ReadXattrs(int fd);
// The same of what `name` is in `dir_fd` (not followed).
absl::StatusOr<std::map<std::string, std::string>> ReadXattrs(int dir_fd, const std::string& name);
// Sets one; an attribute that the file system or our rights do not allow is left out.
absl::Status SetXattr(int dir_fd, const std::string& name, const std::string& key, const std::string& value);
// overlayfs keeps its own state in these; an archive must not bring them.
bool IsOverlayXattr(absl::string_view key);

// Whether an entry of a layer's directory is an overlayfs whiteout.
bool IsWhiteout(const struct stat& status);
// Whether the directory `name` in `dir_fd` hides what is beneath it in lower layers.
bool IsOpaque(int dir_fd, const std::string& name);
// Marks it so.
absl::Status MarkOpaque(int dir_fd, const std::string& name);

// Whether one of these layer directories has an entry at `path`.
bool ExistsInAny(const std::vector<std::string>& layers, const std::string& path);

// Gives the open directory `to` mode, owner, xattrs and mtime of the open directory `from`.
absl::Status CopyDirectoryAttributes(int from, int to);

}  // namespace cachalot::snapshot
