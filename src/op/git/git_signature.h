// Signed commits and tags.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancel.h"
#include "op/git/git_identifier.h"

namespace cachalot::op {

// A commit or tag object split into what was signed and the signature (empty when it has none), as git(1) signs them.
struct SignedObject {
  std::string payload, signature;
};
SignedObject SplitSignature(absl::string_view object);

// The committer's date of a commit object.
absl::StatusOr<absl::Time> CommitTime(absl::string_view commit_object);

// OK when the tag, if there is one (`tag_object` not empty), or the commit is signed as the policy wants. `work_dir` has room for the
// files of the verifying program.
absl::Status VerifyGitSignature(const GitSignaturePolicy& policy, const std::string& commit_object, const std::string& tag_object,
                                const std::string& work_dir, const CancelToken& cancel);

}  // namespace cachalot::op
