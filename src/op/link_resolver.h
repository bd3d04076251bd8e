// Following symbolic links by hand, within trees that no system call can see as a whole.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <optional>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::op {

// What stands at one path.
enum class EntryKind { kNone, kDirectory, kLink, kOther };

EntryKind KindOf(const std::optional<struct stat>& st);

class LinkResolver {
 public:
  using Look = std::function<absl::StatusOr<EntryKind>(const std::string& path)>;
  using Read = std::function<absl::StatusOr<std::string>(const std::string& path)>;

  // `path` with every link followed inside the root ("..", absolute targets); from the first component that does not exist on,
  // the rest is taken as it stands. Without `follow_last` a link in the last component stays. An error after 255 links.
  absl::StatusOr<std::string> Resolve(absl::string_view path, bool follow_last, const Look& look, const Read& read_link);
  // Directories that were seen are not looked at again until Forget().
  void Forget() { directories_.clear(); }
  void Remember(const std::string& directory) { directories_.insert(directory); }

 private:
  absl::flat_hash_set<std::string> directories_;
};

}  // namespace cachalot::op
