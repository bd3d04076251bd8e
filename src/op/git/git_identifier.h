// What a git source asks for: its identifier and attributes.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llb/op.h"

namespace cachalot::op {

struct GitSignaturePolicy {
  std::string public_key;  // armored OpenPGP keys, or lines of SSH keys
  bool reject_expired = false;
  bool require_signed_tag = false;
  bool ignore_signed_tag = false;  // the commit's signature counts even where a tag has one
};

struct GitIdentifier {
  std::string remote;    // a URL of http, https, ssh or git, or user@host:path
  std::string ref;       // a branch, tag, full ref or commit; empty is the default branch
  std::string subdir;    // clean, without a leading slash; empty for all
  std::string checksum;  // the beginning of the commit's (or tag's) id, or empty
  bool keep_git_dir = false, skip_submodules = false;
  bool commit_times = false;     // files get the commit's time
  bool fetch_by_commit = false;  // asks the server for `checksum` itself; `ref` is only its name
  std::string auth_token_secret, auth_header_secret;
  std::string ssh_id, known_hosts;  // ssh_id empty: no agent
  std::string bundle;               // "docker-image+blob://..." or "oci-layout+blob://...": where the commits come from instead
  std::string bundle_session, bundle_store;
  bool checkout_bundle = false;  // the tree is one file "bundle"
  std::optional<GitSignaturePolicy> signature;

  static absl::StatusOr<GitIdentifier> Parse(const llb::SourceOp& source);
  // The remote without credentials, for people.
  std::string Redacted() const;
  // The part of the cache key that a commit, tag object or ref gives. `ref` is the resolved one.
  std::string CacheKey(const std::string& object, const std::string& ref) const;
};

// Whether `text` is a whole object id: 40 or 64 lower-case hex digits.
bool IsCommitId(absl::string_view text);

}  // namespace cachalot::op
