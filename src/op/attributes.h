// Owners, modes, times and extended attributes of files, and what chown and chmod options make of them.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::op {

struct Attributes {
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t mode = 0;  // type and permissions
  struct timespec atime = {0, UTIME_OMIT}, mtime = {0, UTIME_OMIT};
};
Attributes AttributesOf(const struct stat& st);
// Sets owner, permissions (but of links) and times of `name` in `directory`; an empty name is the directory itself.
absl::Status SetAttributes(int directory, const std::string& name, const Attributes& attributes);
struct timespec TimeOf(std::int64_t ns);

// Copies extended attributes between open files. Those that the target does not take are left out, and overlayfs's own.
void CopyXattrs(int from, int to);
// The same by path, links not followed ("/proc/self/fd/N/name" names an entry of an open directory).
void CopyXattrs(const std::string& from, const std::string& to);

// Copies what is left of one open file into another; reflinked where the file system can.
absl::Status CopyData(int from, int to);

struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
};

// A symbolic mode as chmod(1) has it, umask 0: "u=rwX,go=rX", "+x", "g=u".
class SymbolicMode {
 public:
  static absl::StatusOr<SymbolicMode> Parse(absl::string_view text);
  mode_t Apply(mode_t mode) const;

 private:
  struct Change {
    mode_t who = 0;  // masks of u, g and o
    char operation = '=';
    mode_t bits = 0;  // of rwx for "other", shifted when applied
    bool conditional_x = false, set_id = false, sticky = false;
    char copy_from = 0;  // u, g or o
  };
  std::vector<Change> changes_;
};

}  // namespace cachalot::op
