// Git repositories as Dockerfiles and build contexts name them.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cachalot/llb/source.h"

namespace cachalot::dockerfile {

// "https://host/repo.git?tag=v1#ref:subdir", "git@host:repo", "ssh://...", "git://...", "github.com/owner/repo".
struct GitRef {
  std::string remote;  // without query and fragment
  std::string ref;
  std::string subdir;
  std::string checksum;
  std::string mtime;         // "checkout" or "commit"
  bool looks_local = false;  // "github.com/...": could be a path as well
  std::optional<bool> keep_git_dir, submodules;
  bool fetch_by_commit = false;

  // The options of llb::Git that this reference stands for.
  llb::GitOptions ToOptions() const;
};

// None when `text` is no git reference (a path, or a web address that does not end in ".git"); an error when it is one with a
// query that makes no sense.
absl::StatusOr<std::optional<GitRef>> ParseGitRef(absl::string_view text);

// An http(s) address that is not a git repository.
bool IsHttpSource(absl::string_view text);
bool IsGitSource(absl::string_view text);

// The file name at the end of an address, "__unnamed__" without one.
std::string FileNameOfUrl(absl::string_view url);

}  // namespace cachalot::dockerfile
