// The copy of a remote that builds share: a bare repository per remote, that each fetch adds to.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "op/environment.h"
#include "op/git/git_identifier.h"
#include "op/git/git_program.h"
#include "op/git/git_refs.h"
#include "op/named_trees.h"

namespace cachalot::op {

// A name for an object while it is being fetched from a repository.
class TemporaryRef {
 public:
  TemporaryRef(Git git, std::string name) : git_(std::move(git)), name_(std::move(name)) {}
  ~TemporaryRef() { (void)git_.Succeeds({"update-ref", "-d", name_}); }
  TemporaryRef(const TemporaryRef&) = delete;
  const std::string& name() const { return name_; }

 private:
  const Git git_;
  const std::string name_;
};

// While it lives nobody else uses the remote's repository.
class GitRepository {
 public:
  // Opens the shared repository of id.remote, made if there is none, and fetches what `target` names from there, or from
  // `fetch_url` when that is not empty. Nothing is fetched when the commit is known.
  static absl::StatusOr<std::unique_ptr<GitRepository>> Fetch(const GitIdentifier& id, const GitTarget& target, const std::string& fetch_url,
                                                              const Environment& environment, const Git& git);

  const std::string& directory() const { return tree_->path(); }
  // git, within this repository.
  const Git& git() const { return git_; }
  // What names the fetched commit here.
  const std::string& revision() const { return revision_; }
  absl::StatusOr<std::unique_ptr<TemporaryRef>> Name(const std::string& object) const;

 private:
  GitRepository(NamedTrees::LeasePtr lease, std::shared_ptr<snapshot::MountedTree> tree, const Git& git)
      : lease_(std::move(lease)), tree_(std::move(tree)), git_(git.In(tree_->path())) {}
  absl::Status Initialize(const GitIdentifier& id, bool sha256, bool anew);
  absl::Status Update(const GitIdentifier& id, const GitTarget& target, const std::string& fetch_url);
  // Makes the local name of the ref point at what the build keeps to, although the remote has moved on.
  absl::Status Pin(const GitIdentifier& id, const GitTarget& target, const std::string& from);
  absl::Status CheckAgainst(const GitIdentifier& id);
  bool HasCommit(const std::string& object) const { return git_.Succeeds({"cat-file", "-e", object + "^{commit}"}); }

  const NamedTrees::LeasePtr lease_;
  const std::shared_ptr<snapshot::MountedTree> tree_;
  const Git git_;
  std::string revision_;
};

}  // namespace cachalot::op
