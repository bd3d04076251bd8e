// From a repository to a tree of files.
#pragma once

#include "absl/status/statusor.h"
#include "op/environment.h"
#include "op/git/git_identifier.h"
#include "op/git/git_program.h"
#include "op/git/git_refs.h"
#include "op/git/git_repository.h"

namespace cachalot::op {

// Commits a tree of what `target` has, submodules included, with or without ".git"; or, as id.checkout_bundle says, with one file
// "bundle".
absl::StatusOr<snapshot::SnapshotPtr> CheckOut(const GitIdentifier& id, const GitTarget& target, GitRepository& repository,
                                               const Environment& environment, const Git& git);

}  // namespace cachalot::op
