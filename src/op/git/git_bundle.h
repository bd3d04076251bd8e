// Commits that travel as a file (git-bundle(1)).
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "op/environment.h"
#include "op/git/git_identifier.h"
#include "op/git/git_program.h"
#include "op/git/git_refs.h"
#include "op/git/git_repository.h"

namespace cachalot::op {

// The commits of a source's bundle, in a private repository that goes with this.
class StagedBundle {
 public:
  // Fetches the blob that id.bundle names and unpacks it. An error when it lacks the commit id.checksum.
  static absl::StatusOr<std::unique_ptr<StagedBundle>> Open(const GitIdentifier& id, const Environment& environment, const Git& git);
  ~StagedBundle();
  // For git to fetch from.
  std::string url() const { return absl::StrCat("file://", directory_, "/repo.git"); }

 private:
  explicit StagedBundle(std::string directory) : directory_(std::move(directory)) {}
  const std::string directory_;
};

// Writes the bundle of a fetched commit to `directory`/bundle, under the ref's own name. `work_dir` has room for its making.
absl::Status WriteBundle(const GitIdentifier& id, const GitTarget& target, GitRepository& repository, const std::string& directory,
                         const std::string& work_dir, const Git& git);

// The name of the one ref in a bundle: tags keep theirs, anything else is a branch, and a bare commit is "refs/heads/main".
std::string BundleRef(const std::string& ref);

}  // namespace cachalot::op
