// Source operation "git://": files of a commit.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "op/environment.h"
#include "op/git/git_bundle.h"
#include "op/git/git_identifier.h"
#include "op/git/git_program.h"
#include "op/git/git_refs.h"
#include "op/git/git_repository.h"
#include "op/pinned.h"
#include "solver/solver.h"

namespace cachalot::op {

// One source's work, from its ref to the repository that has it.
class GitInquiry {
 public:
  // `progress` may be null.
  static absl::StatusOr<std::unique_ptr<GitInquiry>> Open(GitIdentifier id, const Environment& environment,
                                                          std::shared_ptr<solver::OpProgress> progress, const CancelToken& cancel);

  const GitIdentifier& id() const { return id_; }
  const Git& git() const { return git_; }
  // What the ref names. A signature that the identifier asks for is verified, for which the commit is fetched.
  absl::StatusOr<GitTarget> Resolve();
  absl::StatusOr<std::unique_ptr<GitRepository>> Fetch(const GitTarget& target);
  // The target with the commit and tag objects themselves.
  absl::StatusOr<llb::ResolvedGit> ReadObjects(const GitTarget& target);

 private:
  GitInquiry(GitIdentifier id, const Environment& environment, Git git) : id_(std::move(id)), environment_(environment), git_(std::move(git)) {}
  absl::StatusOr<GitTarget> FindTarget();
  absl::StatusOr<std::string> BundleUrl();

  const GitIdentifier id_;
  const Environment& environment_;
  const Git git_;
  std::unique_ptr<StagedBundle> bundle_;
};

class GitSource : public solver::Operation, public Pinned {
 public:
  GitSource(llb::VertexPtr vertex, EnvironmentPtr environment) : vertex_(std::move(vertex)), environment_(std::move(environment)) {}
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;
  std::string Pin() const override { return target_.has_value() ? target_->object : ""; }

 private:
  absl::StatusOr<std::unique_ptr<GitInquiry>> Open(const solver::OpContext& context) const;

  const llb::VertexPtr vertex_;
  const EnvironmentPtr environment_;
  std::optional<GitTarget> target_;
};

}  // namespace cachalot::op
