#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "session/tree/path_order.h"
#include "session/tree/walk.h"

namespace cachalot::session {
namespace {

constexpr std::size_t kMaxResolved = 100'000;

class Resolver {
 public:
  explicit Resolver(int root) : root_(root) {}

  // Walks `path` component by component; at a link it records the link and goes on from its target.
  absl::Status Add(absl::string_view path) {
    std::string rest = RootedPath(path).substr(1);
    std::string current;
    if (resolved_.size() > kMaxResolved) {
      return absl::ResourceExhaustedError("too many links to follow");
    }
    for (;;) {
      const std::size_t slash = rest.find('/');
      const std::string first = rest.substr(0, slash);
      current = current.empty() ? first : absl::StrCat(current, "/", first);
      rest = slash == std::string::npos ? "" : rest.substr(slash + 1);
      ASSIGN_OR_RETURN(const std::vector<std::string> targets, Targets(current));
      if (targets.empty() && !rest.empty()) {
        continue;
      }
      if (!resolved_.insert(current.empty() ? "." : current).second) {
        return absl::OkStatus();
      }
      for (const std::string& target : targets) {
        RETURN_IF_ERROR(Add(rest.empty() ? target : JoinPath(target, rest)));
      }
      return absl::OkStatus();
    }
  }

  std::vector<std::string> Paths() const { return {resolved_.begin(), resolved_.end()}; }

 private:
  // Where the links named by `path` lead; its last component may hold wildcards. Empty when it names no link.
  absl::StatusOr<std::vector<std::string>> Targets(const std::string& path) {
    const std::string parent(ParentOf(path));
    const std::string name(NameOf(path));
    std::vector<std::string> targets;
    const auto directory = os::OpenBeneath(root_, parent.empty() ? "." : parent, O_RDONLY | O_DIRECTORY);
    if (!directory.ok() || name.empty()) {
      return targets;  // whatever is not there leads nowhere
    }
    std::vector<std::string> names = {name};
    if (HasWildcards(name)) {
      names.clear();
      ASSIGN_OR_RETURN(const auto entries, os::ListDirectory(directory->get()));
      for (const auto& entry : entries) {
        if (MatchGlob(name, entry.name).value_or(false)) {
          names.push_back(entry.name);
        }
      }
      std::sort(names.begin(), names.end());
    }
    for (const std::string& candidate : names) {
      struct stat st {};
      if (fstatat(directory->get(), candidate.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
        ASSIGN_OR_RETURN(const std::string target, os::ReadLink(directory->get(), candidate));
        targets.push_back(RootedPath(absl::StartsWith(target, "/") ? target : absl::StrCat(parent, "/", target)));
      }
    }
    return targets;
  }

  const int root_;
  std::set<std::string> resolved_;
};

}  // namespace

absl::StatusOr<std::optional<std::vector<std::string>>> FollowLinks(int root, const std::vector<std::string>& paths) {
  Resolver resolver(root);
  for (const std::string& path : paths) {
    RETURN_IF_ERROR(resolver.Add(path));
  }
  return DedupePaths(resolver.Paths());
}

std::optional<std::vector<std::string>> DedupePaths(const std::vector<std::string>& paths) {
  std::vector<std::string> kept;
  std::string last;
  for (const std::string& path : paths) {
    if (path == ".") {
      return std::nullopt;
    }
    if (absl::StartsWith(path, last + "/")) {
      continue;
    }
    kept.push_back(path);
    last = path;
  }
  return kept;
}

}  // namespace cachalot::session
