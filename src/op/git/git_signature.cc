#include "op/git/git_signature.h"

#include <fcntl.h>

#include <cstdlib>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/openpgp.h"
#include "os/file.h"
#include "os/run.h"

namespace cachalot::op {
namespace {

constexpr absl::string_view kPgp = "-----BEGIN PGP SIGNATURE-----";
constexpr absl::string_view kSsh = "-----BEGIN SSH SIGNATURE-----";

struct Scratch {
  const std::string path;
  ~Scratch() { (void)os::RemoveTree(path); }
};

// The signature of a tag is the end of its message.
SignedObject SplitTag(absl::string_view object) {
  const std::size_t message = std::min(object.find("\n\n"), object.size());
  std::size_t begin = absl::string_view::npos;
  for (const absl::string_view mark : {kPgp, kSsh}) {
    const std::size_t at = object.rfind(absl::StrCat("\n", mark));
    if (at != absl::string_view::npos && at > message && (begin == absl::string_view::npos || at > begin)) begin = at;
  }
  if (begin == absl::string_view::npos) return {std::string(object), ""};
  return {std::string(object.substr(0, begin + 1)), std::string(object.substr(begin + 1))};
}

// That of a commit is a header, whose further lines are indented by one space.
SignedObject SplitCommit(absl::string_view object) {
  SignedObject result;
  bool in_signature = false, in_headers = true;
  while (!object.empty()) {
    const std::size_t end = std::min(object.find('\n'), object.size() - 1) + 1;
    const absl::string_view line = object.substr(0, end);
    object.remove_prefix(end);
    if (in_headers && absl::StartsWith(line, "gpgsig")) {
      in_signature = true;
      absl::StrAppend(&result.signature, line.substr(std::min(line.size(), line.find(' ') + 1)));
    } else if (in_headers && in_signature && absl::StartsWith(line, " ")) {
      absl::StrAppend(&result.signature, line.substr(1));
    } else {
      in_signature = false;
      if (line == "\n") in_headers = false;
      absl::StrAppend(&result.payload, line);
    }
  }
  return result;
}

// Not with options in front, which would be taken for ours.
bool IsSshKey(absl::string_view line) {
  for (const absl::string_view type : {"ssh-", "ecdsa-", "sk-"}) {
    if (absl::StartsWith(line, type)) return true;
  }
  return false;
}

absl::Status VerifySsh(const SignedObject& object, const std::string& public_keys, const std::string& directory, const CancelToken& cancel) {
  // ssh-keygen(1), "allowed signers": anybody, for git alone, with one of these keys.
  std::string allowed;
  for (const absl::string_view line : absl::StrSplit(public_keys, '\n', absl::SkipWhitespace())) {
    const absl::string_view key = absl::StripAsciiWhitespace(line);
    if (IsSshKey(key)) absl::StrAppend(&allowed, "* namespaces=\"git\" ", key, "\n");
  }
  if (allowed.empty()) return absl::InvalidArgumentError("failed to parse ssh public key");
  RETURN_IF_ERROR(os::WriteFileAtomic(directory + "/allowed", allowed, 0600));
  RETURN_IF_ERROR(os::WriteFileAtomic(directory + "/signature", object.signature, 0600));
  ASSIGN_OR_RETURN(const UniqueFd payload, os::Open(directory + "/payload", O_RDONLY));
  os::Command command;
  command.argv = {"ssh-keygen", "-Y", "verify", "-f", directory + "/allowed", "-I", "git", "-n", "git", "-s", directory + "/signature"};
  const char* path = std::getenv("PATH");
  command.env = std::vector<std::string>{absl::StrCat("PATH=", path == nullptr ? "/usr/bin:/bin" : path), "LC_ALL=C", "HOME=/dev/null"};
  command.stdin_fd = payload.get();
  const absl::StatusOr<os::RunResult> run = os::Run(command, {}, cancel);
  if (absl::IsNotFound(run.status())) return absl::FailedPreconditionError("verifying SSH signatures needs the program ssh-keygen");
  RETURN_IF_ERROR(run.status());
  if (run->exit.code == 0) return absl::OkStatus();
  const absl::string_view printed = absl::StripAsciiWhitespace(run->err.empty() ? run->out : run->err);
  const absl::string_view reason = printed.substr(printed.rfind('\n') + 1);
  return absl::FailedPreconditionError(absl::StrCat("failed to verify ssh signature: ", reason));
}

absl::Status VerifyObject(const GitSignaturePolicy& policy, const std::string& object, const std::string& work_dir, const CancelToken& cancel) {
  const SignedObject parts = SplitSignature(object);
  if (parts.signature.empty()) return absl::FailedPreconditionError("git object is not signed");
  const Scratch scratch{absl::StrCat(work_dir, "/signed-", RandomId())};
  RETURN_IF_ERROR(os::MakeDirectories(scratch.path, 0700));
  const std::string payload = scratch.path + "/payload";
  RETURN_IF_ERROR(os::WriteFileAtomic(payload, parts.payload, 0600));
  if (absl::StartsWith(parts.signature, kSsh)) return VerifySsh(parts, policy.public_key, scratch.path, cancel);
  if (!absl::StartsWith(parts.signature, kPgp)) return absl::FailedPreconditionError("invalid signature format");
  return VerifyOpenPgp({payload, parts.signature, policy.public_key, scratch.path, policy.reject_expired}, cancel);
}

}  // namespace

SignedObject SplitSignature(absl::string_view object) { return absl::StartsWith(object, "object ") ? SplitTag(object) : SplitCommit(object); }

absl::StatusOr<absl::Time> CommitTime(absl::string_view commit_object) {
  for (const absl::string_view line : absl::StrSplit(commit_object, '\n')) {
    if (line.empty()) break;
    if (!absl::StartsWith(line, "committer ")) continue;
    // "committer A. U. Thor <mail> 1700000000 +0100"
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    std::int64_t seconds = 0;
    if (words.size() > 2 && absl::SimpleAtoi(words[words.size() - 2], &seconds)) return absl::FromUnixSeconds(seconds);
  }
  return absl::InvalidArgumentError("invalid commit object: missing committer header");
}

absl::Status VerifyGitSignature(const GitSignaturePolicy& policy, const std::string& commit_object, const std::string& tag_object,
                                const std::string& work_dir, const CancelToken& cancel) {
  absl::Status tag = absl::FailedPreconditionError("signed tag required but no signed tag found");
  if (!tag_object.empty() && !policy.ignore_signed_tag) {
    tag = VerifyObject(policy, tag_object, work_dir, cancel);
    if (tag.ok()) return tag;
  }
  if (policy.require_signed_tag) return tag;
  return VerifyObject(policy, commit_object, work_dir, cancel);
}

}  // namespace cachalot::op
