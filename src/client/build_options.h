// What a user asks of `cachalot build`, and what that is in a solve request.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "buildkit/control.pb.h"
#include "client/attach/attachables.h"

namespace cachalot::client {

struct BuildOptions {
  std::string context = ".";  // a directory, a URL, or "-" for a tar archive or a Dockerfile on stdin
  std::string dockerfile;     // --file; empty: Dockerfile in the context, "-": stdin
  std::string target;
  std::vector<std::string> tags, build_args, labels, annotations, build_contexts, add_hosts, allow, ulimits;
  std::vector<std::string> secrets, ssh, outputs, platforms, cache_from, cache_to, no_cache_filter, attestations;
  std::optional<std::string> provenance, sbom;
  std::string network, shm_size, cgroup_parent, progress = "auto", metadata_file, iid_file;
  std::string call = "build";  // client/call.h
  bool push = false, load = false, no_cache = false, pull = false, quiet = false, check = false;
};

// "key=value,key=value" with CSV quoting; keys in lower case. A field without "=" has its name as key and no value.
struct Field {
  std::string key;
  std::optional<std::string> value;
};
absl::StatusOr<std::vector<Field>> ParseFields(const std::string& text);

// --output and its short forms: "DIR", "-", or fields.
struct OutputSpec {
  std::string type;  // image, oci, docker, tar, local
  std::map<std::string, std::string> attrs;
  std::string dest;  // a path, "-" for stdout; empty: none
};
absl::StatusOr<OutputSpec> ParseOutput(const std::string& text);
// --cache-from and --cache-to: fields, or just a reference (type registry).
absl::StatusOr<std::pair<std::string, std::map<std::string, std::string>>> ParseCache(const std::string& text);
// --secret id=..,src=..|env=..[,type=file|env] and --ssh default|id[=socket|key,key][,raw=true].
absl::StatusOr<SecretSource> ParseSecret(const std::string& text);
absl::StatusOr<SshAgent> ParseSsh(const std::string& text);
// --annotation [TYPE[PLATFORM],...:]NAME=VALUE: the exporter's attributes that say the same.
absl::StatusOr<std::map<std::string, std::string>> ParseAnnotation(const std::string& text);

// "64m", "1gb", "4096": bytes.
absl::StatusOr<std::int64_t> ParseSize(const std::string& text);

// The outputs that the options ask for: --output, --push and --load together with the tags and annotations, which are checked here.
absl::StatusOr<std::vector<OutputSpec>> CollectOutputs(const BuildOptions& options);

// The frontend's options, exporters, caches and entitlements; all but what comes from the context. Errors name the flag or its value.
absl::StatusOr<moby::buildkit::v1::SolveRequest> MakeRequest(const BuildOptions& options, const std::vector<OutputSpec>& outputs);

}  // namespace cachalot::client
