#include "op/git/git_repository.h"

#include <dirent.h>

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

// There once the repository is whole: a process can be killed in between.
constexpr char kReady[] = "/cachalot-ready";

// A tag that moved, or a branch that has become the parent directory of others: the local refs stand in the way.
bool NeedsFreshRepository(const absl::Status& status) {
  const absl::string_view text = status.message();
  if (absl::StrContains(text, "rejected") && absl::StrContains(text, "(would clobber existing tag)")) return true;
  return absl::StrContains(text, "some local refs could not be updated;") &&
         (absl::StrContains(text, "(unable to update local ref)") || absl::StrContains(text, "refname conflict"));
}

// The locks of a git that was killed: whoever holds the lease is alone. `deep`: of all directories below, too.
absl::Status RemoveLocks(const std::string& directory, bool deep) {
  const absl::StatusOr<std::vector<os::DirectoryEntry>> entries = os::ListDirectory(directory);
  if (absl::IsNotFound(entries.status())) return absl::OkStatus();
  RETURN_IF_ERROR(entries.status());
  for (const os::DirectoryEntry& entry : *entries) {
    const std::string path = absl::StrCat(directory, "/", entry.name);
    if (absl::EndsWith(entry.name, ".lock")) RETURN_IF_ERROR(os::RemoveTree(path));
    if (deep && entry.type == DT_DIR) RETURN_IF_ERROR(RemoveLocks(path, deep));
  }
  return absl::OkStatus();
}

std::string FetchError(const GitIdentifier& id) { return absl::StrCat("failed to fetch remote ", id.Redacted()); }

}  // namespace

absl::StatusOr<std::unique_ptr<GitRepository>> GitRepository::Fetch(const GitIdentifier& id, const GitTarget& target, const std::string& fetch_url,
                                                                    const Environment& environment, const Git& git) {
  snapshot::Label label;
  label.description = absl::StrCat("shared git repo for ", id.Redacted());
  const bool sha256 = target.object.size() == 64;
  // Object formats do not mix.
  const std::string name = absl::StrCat(sha256 ? "git-sha256:" : "git:", id.remote);
  ASSIGN_OR_RETURN(NamedTrees::LeasePtr lease,
                   environment.parts.named_trees->Acquire(name, llb::CacheSharing::kLocked, nullptr, label, git.cancel()));
  ASSIGN_OR_RETURN(std::shared_ptr<snapshot::MountedTree> tree, environment.parts.snapshots->MountTree(lease->snapshot(), false));
  std::unique_ptr<GitRepository> repository(new GitRepository(std::move(lease), std::move(tree), git));
  RETURN_IF_ERROR(repository->Initialize(id, sha256, false));
  for (const char* place : {"", "/refs", "/objects/info"}) RETURN_IF_ERROR(RemoveLocks(repository->directory() + place, *place != 0));
  absl::Status fetched = repository->Update(id, target, fetch_url);
  if (NeedsFreshRepository(fetched)) {
    RETURN_IF_ERROR(repository->Initialize(id, sha256, true));
    fetched = repository->Update(id, target, fetch_url);
  }
  RETURN_IF_ERROR(fetched);
  RETURN_IF_ERROR(repository->CheckAgainst(id));
  return repository;
}

absl::Status GitRepository::Initialize(const GitIdentifier& id, bool sha256, bool anew) {
  const std::string ready = directory() + kReady;
  if (!anew && os::Lstat(ready).ok()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const UniqueFd root, os::OpenDirectory(directory()));
  ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> entries, os::ListDirectory(root.get()));
  for (const os::DirectoryEntry& entry : entries) RETURN_IF_ERROR(os::RemoveTreeAt(root.get(), entry.name));
  std::vector<std::string> init = {"-c", "init.defaultBranch=master", "init", "--bare"};
  if (sha256) init.push_back("--object-format=sha256");
  RETURN_IF_ERROR(Annotate(git_.Run(init).status(), absl::StrCat("failed to init repo at ", directory())));
  RETURN_IF_ERROR(git_.Run({"remote", "add", "origin", id.remote}).status());
  return os::WriteFileAtomic(ready, "");
}

absl::Status GitRepository::Update(const GitIdentifier& id, const GitTarget& target, const std::string& fetch_url) {
  const bool by_commit = IsCommitId(target.ref);
  const std::string wanted = by_commit || id.fetch_by_commit ? target.object : target.ref;
  // Refs that are here are offered to the remote, which then sends less.
  revision_ = wanted;
  const bool shallow = os::Lstat(directory() + "/shallow").ok();
  // A bundle is worth little without the commit's parents.
  const bool whole = id.checkout_bundle || (by_commit && !id.fetch_by_commit);
  if (IsCommitId(wanted) && HasCommit(wanted) && !(id.checkout_bundle && shallow)) return absl::OkStatus();
  const std::string from = fetch_url.empty() ? "origin" : fetch_url;
  std::vector<std::string> fetch = {"fetch"};
  // Which branch has the commit is not known.
  fetch.push_back(by_commit && !id.fetch_by_commit ? "--tags" : "--no-tags");
  if (!whole) fetch.push_back("--depth=1");
  if (whole && shallow) fetch.push_back("--unshallow");
  if (by_commit) {
    fetch.insert(fetch.end(), {from, wanted});
  } else {
    fetch.insert(fetch.end(), {"--force", "--", from, absl::StrCat(wanted, ":", target.ref)});
  }
  RETURN_IF_ERROR(Annotate(git_.Run(fetch).status(), FetchError(id)));
  return Pin(id, target, from);
}

absl::Status GitRepository::Pin(const GitIdentifier& id, const GitTarget& target, const std::string& from) {
  if (IsCommitId(target.ref)) {
    if (git_.Succeeds({"cat-file", "-e", target.object})) return absl::OkStatus();
  } else {
    const absl::StatusOr<std::string> now = git_.Line({"rev-parse", target.ref});
    if (now.ok() && *now == target.object) return absl::OkStatus();
  }
  if (!git_.Succeeds({"cat-file", "-e", target.object})) {
    std::vector<std::string> fetch = {"fetch", "--tags"};
    if (os::Lstat(directory() + "/shallow").ok()) fetch.push_back("--unshallow");
    fetch.insert(fetch.end(), {from, target.object});
    RETURN_IF_ERROR(Annotate(git_.Run(fetch).status(), FetchError(id)));
    if (!git_.Succeeds({"cat-file", "-e", target.object})) {
      return absl::FailedPreconditionError(absl::StrCat("fetched ref ", target.ref, " does not match expected commit ", target.object,
                                                        " and commit can not be found in the repository"));
    }
  }
  if (IsCommitId(target.ref)) return absl::OkStatus();
  return git_.Run({"update-ref", target.ref, target.object, "--no-deref"}).status();
}

absl::StatusOr<std::unique_ptr<TemporaryRef>> GitRepository::Name(const std::string& object) const {
  std::string name = absl::StrCat("refs/cachalot/", RandomId());
  RETURN_IF_ERROR(git_.Run({"update-ref", name, object}).status());
  return std::make_unique<TemporaryRef>(git_, std::move(name));
}

absl::Status GitRepository::CheckAgainst(const GitIdentifier& id) {
  if (id.checksum.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string object, git_.Line({"rev-parse", revision_}));
  if (absl::StartsWith(object, id.checksum)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string commit, git_.Line({"rev-parse", revision_ + "^{}"}));
  if (absl::StartsWith(commit, id.checksum)) return absl::OkStatus();
  const std::string found = commit == object ? object : absl::StrCat(object, " or ", commit);
  return absl::FailedPreconditionError(absl::StrCat("expected checksum to match ", id.checksum, ", got ", found));
}

}  // namespace cachalot::op
