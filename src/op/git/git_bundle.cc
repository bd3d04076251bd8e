#include "op/git/git_bundle.h"

#include <fcntl.h>

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/attributes.h"
#include "op/blob_source.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

struct Scratch {
  const std::string path;
  ~Scratch() { (void)os::RemoveTree(path); }
};

absl::StatusOr<Git> InitBare(const Git& git, const std::string& directory, bool sha256) {
  RETURN_IF_ERROR(os::MakeDirectories(directory, 0700));
  Git repository = git.In(directory);
  std::vector<std::string> init = {"-c", "init.defaultBranch=master", "init", "--bare"};
  if (sha256) init.push_back("--object-format=sha256");
  RETURN_IF_ERROR(Annotate(repository.Run(init).status(), "failed to init temp bare repo"));
  return repository;
}

absl::Status CopyFile(const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(const UniqueFd source, os::Open(from, O_RDONLY));
  ASSIGN_OR_RETURN(const UniqueFd target, os::Open(to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
  return CopyData(source.get(), target.get());
}

absl::StatusOr<std::shared_ptr<store::BlobPin>> FetchLocator(const GitIdentifier& id, const Environment& environment, const CancelToken& cancel,
                                                             oci::Digest& digest) {
  llb::SourceOp source{id.bundle, {}};
  if (!id.bundle_session.empty()) source.attrs["oci.session"] = id.bundle_session;
  if (!id.bundle_store.empty()) source.attrs["oci.store"] = id.bundle_store;
  ASSIGN_OR_RETURN(const OriginAndReference from, OriginOf(source, environment));
  digest = from.ref.digest;
  return FetchBlob(from, *environment.parts.blobs, cancel);
}

}  // namespace

absl::StatusOr<std::unique_ptr<StagedBundle>> StagedBundle::Open(const GitIdentifier& id, const Environment& environment, const Git& git) {
  oci::Digest digest;
  absl::StatusOr<std::shared_ptr<store::BlobPin>> pin = FetchLocator(id, environment, git.cancel(), digest);
  if (!pin.ok()) return Annotate(pin.status(), absl::StrCat("failed to fetch git bundle ", id.bundle));
  std::unique_ptr<StagedBundle> staged(new StagedBundle(absl::StrCat(environment.parts.work_dir, "/bundle-", RandomId())));
  RETURN_IF_ERROR(os::MakeDirectories(staged->directory_, 0700));
  const std::string file = staged->directory_ + "/bundle.pack";
  {
    ASSIGN_OR_RETURN(const UniqueFd blob, environment.parts.blobs->Open(digest));
    ASSIGN_OR_RETURN(const UniqueFd to, os::Open(file, O_WRONLY | O_CREAT | O_EXCL, 0600));
    RETURN_IF_ERROR(CopyData(blob.get(), to.get()));
  }
  absl::StatusOr<std::string> refs = git.Run({"ls-remote", "--", file});
  if (!refs.ok()) return Annotate(refs.status(), absl::StrCat("failed to inspect git bundle ", id.bundle));
  const std::string first = refs->substr(0, refs->find('\t'));
  if (!IsCommitId(first)) return absl::InvalidArgumentError(absl::StrCat("failed to inspect git bundle ", id.bundle, ": no refs found"));
  ASSIGN_OR_RETURN(const Git repository, InitBare(git, staged->directory_ + "/repo.git", first.size() == 64));
  RETURN_IF_ERROR(Annotate(repository.Run({"fetch", file, "+refs/*:refs/*"}).status(), absl::StrCat("failed to import git bundle ", id.bundle)));
  if (!repository.Succeeds({"cat-file", "-e", id.checksum + "^{commit}"})) {
    return absl::NotFoundError(absl::StrCat("commit ", id.checksum, " not found in bundle ", id.bundle));
  }
  return staged;
}

StagedBundle::~StagedBundle() { (void)os::RemoveTree(directory_); }

absl::Status WriteBundle(const GitIdentifier& id, const GitTarget& target, GitRepository& repository, const std::string& directory,
                         const std::string& work_dir, const Git& git) {
  const Scratch scratch{absl::StrCat(work_dir, "/bundle-", RandomId())};
  ASSIGN_OR_RETURN(const Git own, InitBare(git, scratch.path + "/repo.git", target.object.size() == 64));
  // A repository of its own, so that the bundle has this ref and nothing that others fetched.
  ASSIGN_OR_RETURN(const std::string commit, repository.git().Line({"rev-parse", repository.revision()}));
  const std::string ref = BundleRef(target.ref);
  ASSIGN_OR_RETURN(const std::unique_ptr<TemporaryRef> shared, repository.Name(commit));
  RETURN_IF_ERROR(Annotate(own.Run({"fetch", "--no-tags", "--", "file://" + repository.directory(), absl::StrCat(shared->name(), ":", ref)}).status(),
                           absl::StrCat("failed to fetch commit ", commit, " from shared repo for bundle creation")));
  const std::string file = scratch.path + "/out.bundle";
  RETURN_IF_ERROR(Annotate(own.Run({"bundle", "create", file, ref}).status(), absl::StrCat("failed to create git bundle for ", commit)));
  return CopyFile(file, directory + "/bundle");
}

std::string BundleRef(const std::string& ref) {
  if (ref.empty() || IsCommitId(ref)) return "refs/heads/main";
  if (absl::StartsWith(ref, "refs/tags/")) return ref;
  return absl::StrCat("refs/heads/", absl::StripPrefix(absl::StripPrefix(ref, "refs/"), "heads/"));
}

}  // namespace cachalot::op
