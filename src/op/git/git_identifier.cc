#include "op/git/git_identifier.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "oci/digest.h"
#include "op/image_origin.h"

namespace cachalot::op {
namespace {

bool IsHex(absl::string_view text) {
  return !text.empty() && absl::c_all_of(text, [](unsigned char c) { return absl::ascii_isxdigit(c); });
}

bool HasTransport(absl::string_view text) {
  for (const absl::string_view scheme : {"http://", "https://", "ssh://", "git://"}) {
    if (absl::StartsWithIgnoreCase(text, scheme)) return true;
  }
  // user@host:path, which git takes for ssh.
  const std::size_t at = text.find('@'), colon = text.find(':');
  if (at == absl::string_view::npos || colon == absl::string_view::npos || colon < at || at == 0 || absl::StrContains(text, "://")) return false;
  return absl::c_all_of(text.substr(0, at), [](unsigned char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_'; }) && text[0] != '-';
}

// Anything else would be another protocol of git's, or a path of this machine.
std::string WithTransport(absl::string_view text) { return HasTransport(text) ? std::string(text) : absl::StrCat("https://", text); }

absl::Status SetAttribute(const std::string& name, const std::string& value, GitIdentifier& id) {
  const bool yes = value == "true";
  const auto signature = [&]() -> GitSignaturePolicy& {
    if (!id.signature.has_value()) id.signature.emplace();
    return *id.signature;
  };
  if (name == "git.keepgitdir") {
    id.keep_git_dir = yes;
  } else if (name == "git.fullurl") {
    id.remote = WithTransport(value);
  } else if (name == "git.authheadersecret") {
    id.auth_header_secret = value;
  } else if (name == "git.authtokensecret") {
    id.auth_token_secret = value;
  } else if (name == "git.knownsshhosts") {
    id.known_hosts = value;
  } else if (name == "git.mountsshsock") {
    id.ssh_id = value;
  } else if (name == "git.checksum") {
    if (!value.empty() && !IsHex(value)) {
      return absl::InvalidArgumentError(absl::StrCat("invalid checksum ", value, " for Git URL, expected hex commit hash"));
    }
    id.checksum = value;
  } else if (name == "git.skipsubmodules") {
    id.skip_submodules = yes;
  } else if (name == "git.mtime") {
    id.commit_times = value == "commit";
  } else if (name == "git.fetchbycommit") {
    id.fetch_by_commit = yes;
  } else if (name == "git.bundle") {
    id.bundle = value;
  } else if (name == "git.checkoutbundle") {
    id.checkout_bundle = yes;
  } else if (name == "oci.session") {
    id.bundle_session = value;
  } else if (name == "oci.store") {
    id.bundle_store = value;
  } else if (name == "git.sig.pubkey") {
    signature().public_key = value;
  } else if (name == "git.sig.rejectexpired") {
    signature().reject_expired = yes;
  } else if (name == "git.sig.requiresignedtag") {
    signature().require_signed_tag = yes;
  } else if (name == "git.sig.ignoresignedtag") {
    signature().ignore_signed_tag = yes;
  }
  return absl::OkStatus();
}

absl::Status CheckBundle(const GitIdentifier& id) {
  if (id.checkout_bundle && id.keep_git_dir) return absl::InvalidArgumentError("git.checkoutbundle is incompatible with git.keepgitdir");
  if (id.checkout_bundle && !id.subdir.empty()) return absl::InvalidArgumentError("git.checkoutbundle is incompatible with git.subdir");
  if (id.bundle.empty()) return absl::OkStatus();
  if (!absl::StartsWith(id.bundle, "docker-image+blob://") && !absl::StartsWith(id.bundle, "oci-layout+blob://")) {
    return absl::InvalidArgumentError(
        absl::StrCat("git.bundle locator scheme of \"", id.bundle, "\" is not supported; expected \"docker-image+blob\" or \"oci-layout+blob\""));
  }
  const absl::StatusOr<oci::Reference> ref = ParseLayoutReference(absl::string_view(id.bundle).substr(id.bundle.find("://") + 3));
  if (!ref.ok()) return Annotate(ref.status(), absl::StrCat("failed to parse git.bundle locator \"", id.bundle, "\""));
  if (ref->digest.algorithm() != "sha256") {
    return absl::InvalidArgumentError(absl::StrCat("git.bundle locator \"", id.bundle, "\": digest algorithm not supported, expected \"sha256\""));
  }
  if (id.checksum.empty()) return absl::InvalidArgumentError("git.bundle requires git.checksum to be set");
  return absl::OkStatus();
}

}  // namespace

bool IsCommitId(absl::string_view text) {
  return (text.size() == 40 || text.size() == 64) &&
         absl::c_all_of(text, [](unsigned char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); });
}

absl::StatusOr<GitIdentifier> GitIdentifier::Parse(const llb::SourceOp& source) {
  GitIdentifier id;
  const std::string text = WithTransport(absl::StripPrefix(source.identifier, "git://"));
  const std::size_t hash = std::min(text.find('#'), text.size());
  id.remote = text.substr(0, std::min(hash, text.find('?')));
  const std::string fragment = hash == text.size() ? "" : text.substr(hash + 1);
  const std::size_t colon = fragment.find(':');
  id.ref = fragment.substr(0, colon);
  if (colon != std::string::npos) id.subdir = RootedPath(fragment.substr(colon + 1)).substr(1);
  for (const auto& [name, value] : source.attrs) RETURN_IF_ERROR(SetAttribute(name, value, id));
  if (absl::StartsWith(id.ref, "-")) return absl::InvalidArgumentError(absl::StrCat("invalid git ref \"", id.ref, "\""));
  RETURN_IF_ERROR(CheckBundle(id));
  if (!id.checksum.empty() && IsCommitId(id.ref) && !absl::StartsWith(id.ref, id.checksum)) {
    return absl::InvalidArgumentError(absl::StrCat("expected checksum to match ", id.checksum, ", got ", id.ref));
  }
  if (!id.fetch_by_commit || IsCommitId(id.ref)) return id;
  if (id.checksum.empty()) return absl::InvalidArgumentError("fetch-by-commit requires a checksum or a commit SHA ref");
  if (IsCommitId(id.checksum)) return id;
  return absl::InvalidArgumentError(absl::StrCat("fetch-by-commit requires a full commit SHA checksum, got \"", id.checksum, "\""));
}

std::string GitIdentifier::Redacted() const {
  const std::size_t scheme = remote.find("://");
  if (scheme == std::string::npos) return remote;
  const std::size_t authority = scheme + 3, slash = std::min(remote.find('/', authority), remote.size());
  const std::size_t at = remote.rfind('@', slash);
  if (at == std::string::npos || at < authority) return remote;
  const std::size_t colon = remote.find(':', authority);
  if (colon < at) return absl::StrCat(remote.substr(0, authority), "xxxxx:xxxxx", remote.substr(at));
  // Over ssh a user's name alone is part of the address; over http it may be a token.
  if (absl::StartsWith(remote, "ssh://")) return remote;
  return absl::StrCat(remote.substr(0, authority), "xxxxx", remote.substr(at));
}

std::string GitIdentifier::CacheKey(const std::string& object, const std::string& resolved_ref) const {
  std::string key = object;
  if (keep_git_dir) absl::StrAppend(&key, ".git", resolved_ref.empty() ? "" : "#", resolved_ref);
  if (!subdir.empty()) absl::StrAppend(&key, ":", subdir);
  if (skip_submodules) key += "(skip-submodules)";
  if (commit_times) key += "(mtime=commit)";
  if (checkout_bundle) key += "(bundle)";
  return key;
}

}  // namespace cachalot::op
