// Where trees come from: images, the client's directories, git, http, OCI layouts.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cachalot/llb/state.h"

namespace cachalot::llb {

enum class ResolveMode { kDefault, kForcePull, kPreferLocal };

struct ImageOptions {
  ResolveMode resolve_mode = ResolveMode::kDefault;
  std::string record_type = {};         // what the daemon's records show: "internal", "frontend"; by default "regular"
  std::optional<int> layer_limit = {};  // only the first layers
  std::string checksum = {};            // the digest that the manifest must have
  Constraints constraints = {};
};
struct LocalOptions {
  std::string session_id = {};
  std::vector<std::string> include_patterns = {};
  std::vector<std::string> exclude_patterns = {};
  std::vector<std::string> follow_paths = {};  // symlinks at these paths are followed when patterns are matched
  std::string shared_key_hint = {};            // what stays the same between transfers of one directory
  std::string differ = {};                     // "none" or "metadata" (the default)
  bool differ_required = false;
  bool metadata_only = false;                              // send no contents...
  std::vector<std::string> metadata_only_exceptions = {};  // ...except of these
  Constraints constraints = {};
};
struct GitOptions {
  std::string ref = {};     // branch, tag or commit
  std::string subdir = {};  // the directory of the repository that becomes the tree
  bool keep_git_dir = false;
  bool skip_submodules = false;
  std::string checksum = {};  // the commit that must come out
  std::string mtime = {};     // "checkout" (the default) or "commit"
  bool fetch_by_commit = false;
  std::optional<std::string> auth_token_secret = {};   // by default GIT_AUTH_TOKEN
  std::optional<std::string> auth_header_secret = {};  // by default GIT_AUTH_HEADER
  std::string known_ssh_hosts = {};
  std::string ssh_socket = {};  // id of the agent for ssh remotes, by default "default"
  std::string bundle = {};
  std::string bundle_session_id = {}, bundle_store_id = {};
  bool checkout_bundle = false;
  Constraints constraints = {};
};
struct HttpOptions {
  std::string filename = {};  // by default the last part of the address
  std::string checksum = {};
  int mode = 0;  // permission bits of the file, 0 for the default
  int uid = 0, gid = 0;
  std::string auth_header_secret = {};
  std::string accept = {}, user_agent = {};     // request headers
  std::string signature = {}, public_key = {};  // a detached OpenPGP signature that must verify
  Constraints constraints = {};
};
struct OciLayoutOptions {
  std::string session_id = {}, store_id = {};
  std::optional<int> layer_limit = {};
  Constraints constraints = {};
};

inline State Scratch() { return State(); }
// An image of a registry. The reference is normalized: "busybox" is docker.io/library/busybox:latest.
State Image(absl::string_view ref, const ImageOptions& options = {});
// A directory of the client, by the name that the client gives it ("context").
State Local(absl::string_view name, const LocalOptions& options = {});
// The same with options that are decided when the graph is assembled: a build may not know before which paths it needs.
// `decide` is called once per assembly.
State Local(absl::string_view name, std::function<LocalOptions()> decide);
// A git repository: https://, http://, git://, ssh:// or user@host:path.
State Git(absl::string_view url, const GitOptions& options = {});
// One file, at the root of the tree.
State Http(absl::string_view url, const HttpOptions& options = {});
// An image of an OCI layout that the client offers: "name@sha256:...".
State OciLayout(absl::string_view ref, const OciLayoutOptions& options = {});
// Any other source.
State Source(absl::string_view identifier, std::map<std::string, std::string> attrs, const Constraints& constraints = {});

}  // namespace cachalot::llb
