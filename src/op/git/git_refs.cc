#include "op/git/git_refs.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::op {
namespace {

// "ref: refs/heads/main	HEAD" in what `ls-remote --symref` prints.
absl::StatusOr<std::string> DefaultBranch(const GitIdentifier& id, const Git& git, const std::string& url) {
  const absl::StatusOr<std::string> text = git.Run({"ls-remote", "--symref", "--", url, "HEAD"});
  if (!text.ok()) return Annotate(text.status(), absl::StrCat("error fetching default branch for repository ", id.Redacted()));
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::ConsumePrefix(&line, "ref: refs/heads/")) continue;
    std::string branch(line.substr(0, line.find_first_of("\t ")));
    if (!branch.empty() && branch[0] != '-') return branch;
  }
  return absl::NotFoundError(absl::StrCat("could not find default branch for repository: ", id.Redacted()));
}

absl::Status CheckAgainst(const GitIdentifier& id, const GitTarget& target) {
  if (id.checksum.empty() || absl::StartsWith(target.object, id.checksum) || absl::StartsWith(target.commit, id.checksum)) return absl::OkStatus();
  const std::string found = target.commit.empty() ? target.object : absl::StrCat(target.object, " or ", target.commit);
  return absl::FailedPreconditionError(absl::StrCat("expected checksum to match ", id.checksum, ", got ", found));
}

}  // namespace

absl::StatusOr<GitTarget> AskForRef(const GitIdentifier& id, const Git& git, const std::string& url) {
  std::string ref = id.ref;
  if (ref.empty()) {
    ASSIGN_OR_RETURN(ref, DefaultBranch(id, git, url));
  }
  const absl::StatusOr<std::string> text = git.Run({"ls-remote", "--", url, ref, absl::StrCat(ref, "^{}")});
  if (!text.ok()) return Annotate(text.status(), absl::StrCat("failed to fetch remote ", id.Redacted()));
  const std::string as_given = absl::StrCat("refs/", absl::StripPrefix(ref, "refs/"));
  const std::string as_branch = absl::StrCat("refs/heads/", absl::StripPrefix(ref, "refs/heads/"));
  const std::string as_tag = absl::StrCat("refs/tags/", absl::StripPrefix(ref, "refs/tags/"));
  std::string given, branch, tag, peeled;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    if (fields.size() != 2) continue;
    if (fields[1] == as_branch)
      branch = fields[0];
    else if (fields[1] == as_tag)
      tag = fields[0];
    else if (fields[1] == absl::StrCat(as_tag, "^{}"))
      peeled = fields[0];
    else if (fields[1] == as_given)
      given = fields[0];
  }
  GitTarget target;
  // In case of doubt it is the branch, as for git checkout.
  if (!given.empty())
    target = {as_given, given, ""};
  else if (!branch.empty())
    target = {as_branch, branch, ""};
  else if (!tag.empty())
    target = {as_tag, tag, peeled};
  if (target.object.empty()) return absl::NotFoundError(absl::StrCat("repository does not contain ref ", ref, ", output: \"", *text, "\""));
  if (!IsCommitId(target.object)) return absl::InvalidArgumentError(absl::StrCat("invalid commit sha \"", target.object, "\""));
  RETURN_IF_ERROR(CheckAgainst(id, target));
  return target;
}

absl::StatusOr<GitTarget> GitRefs::Resolve(const GitIdentifier& id, const Git& git) {
  if (IsCommitId(id.ref)) return GitTarget{id.ref, id.ref, ""};
  if (id.fetch_by_commit) {
    // The name is taken for a branch's, so that keys are those of a resolved one; nobody is asked.
    if (id.ref.empty()) return GitTarget{id.checksum, id.checksum, ""};
    return GitTarget{absl::StartsWith(id.ref, "refs/") ? id.ref : absl::StrCat("refs/heads/", id.ref), id.checksum, ""};
  }
  std::shared_ptr<Entry> entry;
  {
    std::lock_guard lock(mutex_);
    std::shared_ptr<Entry>& slot = entries_[absl::StrCat(id.remote, "#", id.ref)];
    if (slot == nullptr) slot = std::make_shared<Entry>();
    entry = slot;
  }
  std::lock_guard lock(entry->mutex);
  if (!entry->target.has_value()) {
    ASSIGN_OR_RETURN(entry->target, AskForRef(id, git, id.remote));
  }
  RETURN_IF_ERROR(CheckAgainst(id, *entry->target));
  return *entry->target;
}

}  // namespace cachalot::op
