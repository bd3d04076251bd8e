// From a branch or tag of a remote to the object that it names now.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "op/git/git_identifier.h"
#include "op/git/git_program.h"

namespace cachalot::op {

struct GitTarget {
  std::string ref;     // in full: "refs/heads/main"; or the commit that was asked for
  std::string object;  // the object that the ref names: a commit or an annotated tag
  std::string commit;  // the commit that an annotated tag names, or empty
};

// Asks the repository at `url` (id.remote, or a copy of what it has) for id.ref.
absl::StatusOr<GitTarget> AskForRef(const GitIdentifier& id, const Git& git, const std::string& url);

// One build's refs: each is asked for once and means the same for the whole build. Thread-safe.
class GitRefs {
 public:
  // Commits are their own answer. INVALID_ARGUMENT when the answer is not what id.checksum says.
  absl::StatusOr<GitTarget> Resolve(const GitIdentifier& id, const Git& git);

 private:
  struct Entry {
    std::mutex mutex;  // held while asking
    std::optional<GitTarget> target;
  };
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;
};

}  // namespace cachalot::op
