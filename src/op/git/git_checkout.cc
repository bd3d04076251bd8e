#include "op/git/git_checkout.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <set>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/attributes.h"
#include "op/git/git_bundle.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
constexpr int kMaxDepth = 256;

// Fetches the commit under its ref's name, with the tags that point at it.
absl::Status FetchInto(const GitTarget& target, GitRepository& repository, const Git& clone) {
  const std::vector<std::string> fetch = {"fetch", "-u", "--depth=1", "--", "origin"};
  const auto fetch_as = [&](const std::string& refspec) {
    std::vector<std::string> arguments = fetch;
    arguments.push_back(refspec);
    return clone.Run(arguments).status();
  };
  const bool by_commit = IsCommitId(target.ref);
  const absl::StatusOr<std::string> here = repository.git().Line({"rev-parse", "--verify", "--quiet", target.ref});
  if (!by_commit && here.ok() && *here == target.object) return fetch_as(absl::StrCat(target.ref, ":", target.ref));
  ASSIGN_OR_RETURN(const std::unique_ptr<TemporaryRef> ref, repository.Name(target.object));
  RETURN_IF_ERROR(fetch_as(ref->name()));
  return by_commit ? absl::OkStatus() : clone.Run({"update-ref", target.ref, target.object}).status();
}

// Makes a repository of its own at the top of `directory`, with this commit alone and without traces of how it got there.
absl::Status CloneInto(const GitIdentifier& id, const GitTarget& target, GitRepository& repository, const std::string& directory, const Git& git) {
  const Git clone = git.In(directory + "/.git", directory);
  std::vector<std::string> init = {"-c", "init.defaultBranch=master", "init"};
  if (target.object.size() == 64) init.push_back("--object-format=sha256");
  RETURN_IF_ERROR(clone.Run(init).status());
  // By the file protocol: git's short cuts for clones of local directories have copied more than they should.
  RETURN_IF_ERROR(clone.Run({"remote", "add", "origin", "file://" + repository.directory()}).status());
  RETURN_IF_ERROR(FetchInto(target, repository, clone));
  RETURN_IF_ERROR(Annotate(clone.Run({"checkout", "FETCH_HEAD"}).status(), absl::StrCat("failed to checkout remote ", id.Redacted())));
  RETURN_IF_ERROR(clone.Run({"remote", "set-url", "origin", id.Redacted()}).status());
  RETURN_IF_ERROR(clone.Run({"reflog", "expire", "--all", "--expire=now"}).status());
  return os::RemoveTree(directory + "/.git/FETCH_HEAD");
}

// Opens a directory of the checkout, none of whose components may be a link or a file: the repository must not choose what it means.
absl::StatusOr<UniqueFd> OpenSubdirectory(int root, const std::string& subdir) {
  ASSIGN_OR_RETURN(UniqueFd at, os::OpenBeneath(root, ".", kDirectoryFlags));
  for (const absl::string_view part : absl::StrSplit(subdir, '/')) {
    absl::StatusOr<UniqueFd> next = os::OpenBeneath(at.get(), part, kDirectoryFlags);
    if (!next.ok()) return Annotate(next.status(), absl::StrCat("invalid subdir ", subdir, ": ", part, " is no directory"));
    at = *std::move(next);
  }
  return at;
}

// Moves what is in `subdir` of `from` to the top of `to`, which has nothing else but `from`.
absl::Status KeepSubdirectory(const std::string& to, const std::string& from, const std::string& subdir) {
  ASSIGN_OR_RETURN(const UniqueFd target, os::OpenDirectory(to));
  {
    ASSIGN_OR_RETURN(const UniqueFd root, os::OpenDirectory(from));
    ASSIGN_OR_RETURN(const UniqueFd directory, OpenSubdirectory(root.get(), subdir));
    ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> entries, os::ListDirectory(directory.get()));
    for (const os::DirectoryEntry& entry : entries) {
      if (::renameat(directory.get(), entry.name.c_str(), target.get(), entry.name.c_str()) != 0) {
        return ErrnoError(absl::StrCat("move ", entry.name));
      }
    }
  }
  return os::RemoveTree(from);
}

// Depth first: a directory's own time would not outlive a change of its entries.
absl::Status SetTimes(int directory, const struct timespec& time, int depth) {
  if (depth == kMaxDepth) return absl::InvalidArgumentError("directories are nested too deeply");
  const struct timespec times[2] = {time, time};
  ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> entries, os::ListDirectory(directory));
  for (const os::DirectoryEntry& entry : entries) {
    if (entry.type == DT_DIR) {
      ASSIGN_OR_RETURN(const UniqueFd child, os::OpenBeneath(directory, entry.name, kDirectoryFlags));
      RETURN_IF_ERROR(SetTimes(child.get(), time, depth + 1));
    } else if (::utimensat(directory, entry.name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
      return ErrnoError(absl::StrCat("utime ", entry.name));
    }
  }
  if (::futimens(directory, times) != 0) return ErrnoError("utime");
  return absl::OkStatus();
}

absl::Status UseCommitTime(const std::string& directory, GitRepository& repository) {
  ASSIGN_OR_RETURN(const std::string text, repository.git().Line({"log", "-1", "--format=%ct", repository.revision() + "^{commit}"}));
  std::int64_t seconds = 0;
  if (!absl::SimpleAtoi(text, &seconds)) return absl::InvalidArgumentError(absl::StrCat("failed to parse commit timestamp \"", text, "\""));
  ASSIGN_OR_RETURN(const UniqueFd root, os::OpenDirectory(directory));
  return SetTimes(root.get(), {static_cast<time_t>(seconds), 0}, 0);
}

// Git remembers in the repository where a submodule came from, and asks there again even if the commit names another place.
absl::Status ForgetSubmodules(const std::string& git_dir, const Git& git) {
  RETURN_IF_ERROR(os::RemoveTree(git_dir + "/modules"));
  const Git repository = git.In(git_dir).Quiet();
  const absl::StatusOr<std::string> known = repository.Run({"config", "--local", "--null", "--name-only", "--get-regexp", "^submodule\\."});
  if (!known.ok()) return absl::OkStatus();  // there are none
  std::set<absl::string_view> sections;
  for (const absl::string_view name : absl::StrSplit(*known, '\0', absl::SkipEmpty())) sections.insert(name.substr(0, name.rfind('.')));
  for (const absl::string_view section : sections)
    RETURN_IF_ERROR(repository.Run({"config", "--local", "--remove-section", std::string(section)}).status());
  return absl::OkStatus();
}

absl::Status Populate(const GitIdentifier& id, const GitTarget& target, GitRepository& repository, const std::string& directory, const Git& git) {
  const bool own_repository = id.keep_git_dir && id.subdir.empty();
  // A name that no checkout uses, as it is not there yet.
  const std::string work_tree = id.subdir.empty() ? directory : absl::StrCat(directory, "/", RandomId());
  std::string git_dir = repository.directory();
  if (own_repository) {
    RETURN_IF_ERROR(CloneInto(id, target, repository, directory, git));
    git_dir = directory + "/.git";
  } else {
    RETURN_IF_ERROR(os::MakeDirectories(work_tree));
    RETURN_IF_ERROR(Annotate(git.In(git_dir, work_tree).Run({"checkout", "--no-overlay", repository.revision(), "--", "."}).status(),
                             absl::StrCat("failed to checkout remote ", id.Redacted())));
  }
  if (!id.skip_submodules) {
    if (!own_repository) RETURN_IF_ERROR(ForgetSubmodules(git_dir, git));
    RETURN_IF_ERROR(Annotate(git.In(git_dir, work_tree).Run({"submodule", "update", "--init", "--recursive", "--depth=1"}).status(),
                             absl::StrCat("failed to update submodules for ", id.Redacted())));
  }
  if (!id.subdir.empty()) RETURN_IF_ERROR(KeepSubdirectory(directory, work_tree, id.subdir));
  return id.commit_times ? UseCommitTime(directory, repository) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<snapshot::SnapshotPtr> CheckOut(const GitIdentifier& id, const GitTarget& target, GitRepository& repository,
                                               const Environment& environment, const Git& git) {
  snapshot::Snapshots& snapshots = *environment.parts.snapshots;
  snapshot::Label label;
  label.description = absl::StrCat(id.checkout_bundle ? "git bundle checkout for " : "git snapshot for ", id.Redacted(), "#", id.ref);
  label.record_type = "source.git.checkout";
  ASSIGN_OR_RETURN(const snapshot::SnapshotPtr active, snapshots.Prepare(nullptr, label));
  {
    ASSIGN_OR_RETURN(const std::shared_ptr<snapshot::MountedTree> tree, snapshots.MountTree(active, false));
    if (id.checkout_bundle) {
      RETURN_IF_ERROR(WriteBundle(id, target, repository, tree->path(), environment.parts.work_dir, git));
    } else {
      RETURN_IF_ERROR(Populate(id, target, repository, tree->path(), git));
    }
  }
  return snapshots.Commit(active);
}

}  // namespace cachalot::op
