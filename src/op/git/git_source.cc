#include "op/git/git_source.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/cache_digest.h"
#include "op/git/git_checkout.h"
#include "op/git/git_signature.h"
#include "op/result.h"

namespace cachalot::op {

absl::StatusOr<std::unique_ptr<GitInquiry>> GitInquiry::Open(GitIdentifier id, const Environment& environment,
                                                             std::shared_ptr<solver::OpProgress> progress, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(std::shared_ptr<const GitAccess> access, GitAccess::Open(id, environment, cancel));
  return std::unique_ptr<GitInquiry>(new GitInquiry(std::move(id), environment, Git(std::move(access), std::move(progress), cancel)));
}

absl::StatusOr<std::string> GitInquiry::BundleUrl() {
  if (id_.bundle.empty()) return "";
  if (bundle_ == nullptr) {
    ASSIGN_OR_RETURN(bundle_, StagedBundle::Open(id_, environment_, git_));
  }
  return bundle_->url();
}

absl::StatusOr<GitTarget> GitInquiry::FindTarget() {
  if (id_.bundle.empty()) return environment_.git_refs->Resolve(id_, git_);
  if (id_.ref.empty()) return GitTarget{id_.checksum, id_.checksum, ""};
  if (IsCommitId(id_.ref)) return GitTarget{id_.ref, id_.ref, ""};
  ASSIGN_OR_RETURN(const std::string url, BundleUrl());
  return AskForRef(id_, git_, url);
}

absl::StatusOr<GitTarget> GitInquiry::Resolve() {
  ASSIGN_OR_RETURN(GitTarget target, FindTarget());
  if (!id_.signature.has_value()) return target;
  ASSIGN_OR_RETURN(const llb::ResolvedGit objects, ReadObjects(target));
  RETURN_IF_ERROR(VerifyGitSignature(*id_.signature, objects.commit_object, objects.tag_object, environment_.parts.work_dir, git_.cancel()));
  return target;
}

absl::StatusOr<std::unique_ptr<GitRepository>> GitInquiry::Fetch(const GitTarget& target) {
  ASSIGN_OR_RETURN(const std::string url, BundleUrl());
  return GitRepository::Fetch(id_, target, url, environment_, git_);
}

absl::StatusOr<llb::ResolvedGit> GitInquiry::ReadObjects(const GitTarget& target) {
  llb::ResolvedGit objects{target.ref, target.object, "", "", ""};
  ASSIGN_OR_RETURN(const std::unique_ptr<GitRepository> repository, Fetch(target));
  const Git& git = repository->git();
  // Of a commit that was asked for by its id it is not known before what it is.
  ASSIGN_OR_RETURN(const std::string type, git.Line({"cat-file", "-t", target.object}));
  if (type != "commit" && type != "tag") return absl::InvalidArgumentError(absl::StrCat("expected commit or tag object, got ", type));
  std::string commit = target.object;
  if (type == "tag") {
    ASSIGN_OR_RETURN(commit, git.Line({"rev-parse", target.object + "^{commit}"}));
    ASSIGN_OR_RETURN(objects.tag_object, git.Run({"cat-file", "tag", target.object}));
    objects.commit_checksum = commit;
  }
  ASSIGN_OR_RETURN(objects.commit_object, git.Run({"cat-file", "commit", commit}));
  return objects;
}

absl::StatusOr<std::unique_ptr<GitInquiry>> GitSource::Open(const solver::OpContext& context) const {
  ASSIGN_OR_RETURN(GitIdentifier id, GitIdentifier::Parse(std::get<llb::SourceOp>(vertex_->op)));
  return GitInquiry::Open(std::move(id), *environment_, context.progress, context.cancel);
}

absl::StatusOr<solver::CacheMap> GitSource::DescribeCache(const solver::OpContext& context) {
  ASSIGN_OR_RETURN(const std::unique_ptr<GitInquiry> inquiry, Open(context));
  ASSIGN_OR_RETURN(target_, inquiry->Resolve());
  // Where the repository itself is no part of the tree, an annotated tag is as good as its commit.
  const bool peeled = !target_->commit.empty() && !inquiry->id().keep_git_dir;
  solver::CacheMap map;
  map.op_digest = SourceOpDigest(inquiry->id().CacheKey(peeled ? target_->commit : target_->object, target_->ref));
  return map;
}

absl::StatusOr<std::string> GitSource::ContentDigest(int, const solver::ResultPtr&, const solver::OpContext&) {
  return absl::InternalError("a git source has no inputs");
}

absl::StatusOr<std::vector<solver::ResultPtr>> GitSource::Run(const std::vector<solver::ResultPtr>&, const solver::OpContext& context) {
  ASSIGN_OR_RETURN(const std::unique_ptr<GitInquiry> inquiry, Open(context));
  if (!target_.has_value()) {
    ASSIGN_OR_RETURN(target_, inquiry->Resolve());
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<GitRepository> repository, inquiry->Fetch(*target_));
  ASSIGN_OR_RETURN(snapshot::SnapshotPtr tree, CheckOut(inquiry->id(), *target_, *repository, *environment_, inquiry->git()));
  return std::vector<solver::ResultPtr>{std::make_shared<TreeResult>(std::move(tree))};
}

}  // namespace cachalot::op
