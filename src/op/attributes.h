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

// Copies all of one open file, holes as holes, into another, which is empty. Blocks are shared where the file system can.
absl::Status CopyData(int from, int to);

struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
};

// A symbolic mode as chmod(1) has it, umask 0: "u=rwX,go=rX", "+x", "g=u". As in BSD, "X" asks for the mode before all changes,
// "=" takes the set-id bits of directories, too, and copies of another's permissions leave special bits alone.
class SymbolicMode {
 public:
  static absl::StatusOr<SymbolicMode> Parse(absl::string_view text);
  mode_t Apply(mode_t mode) const;

 private:
  enum class Kind { kAdd, kRemove, kAddIfExecutable, kCopy };
  struct Change {
    Kind kind;
    mode_t bits;         // for copies: those that may change
    int from_shift = 0;  // of copies: where the permissions come from
    char operation = 0;  // of copies
  };
  bool ParseClause(absl::string_view clause);
  bool ParseOperation(absl::string_view clause, mode_t who, std::size_t* at);
  std::vector<Change> changes_;
};

}  // namespace cachalot::op
