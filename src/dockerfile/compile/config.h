// What a client asks of the Dockerfile frontend: the options of a solve request, checked.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cachalot/llb/source.h"
#include "dockerfile/lint/linter.h"
#include "llb/op.h"
#include "oci/platform.h"

namespace cachalot::dockerfile {

using Options = std::map<std::string, std::string>;

struct SbomRequest {
  std::string generator;  // image reference in full
  std::map<std::string, std::string> parameters;
};

struct Config {
  std::map<std::string, std::string> build_args;
  std::map<std::string, std::string> labels;
  std::string target;
  std::string cache_namespace;
  std::string cgroup_parent;
  std::string hostname;
  std::vector<llb::HostIp> extra_hosts;
  llb::NetMode network = llb::NetMode::kSandbox;
  llb::ResolveMode resolve_mode = llb::ResolveMode::kDefault;
  std::int64_t shm_size = 0;
  std::vector<llb::Ulimit> ulimits;
  std::optional<llb::LinuxResources> resources;
  std::optional<LintConfig> lint;        // replaces the check directive
  std::vector<oci::Platform> platforms;  // asked for; empty: the default
  bool multi_platform = false;
  std::optional<std::vector<std::string>> no_cache_stages;  // empty list: every stage
  std::optional<SbomRequest> sbom;

  bool IsNoCache(absl::string_view stage) const;
};

// Errors name the option and its value.
absl::StatusOr<Config> ParseConfig(const Options& options);

// What the options say of software bills of materials, if anything.
absl::StatusOr<std::optional<SbomRequest>> ParseSbom(const Options& options);

// "default", "pull" or "local".
absl::string_view ResolveModeName(llb::ResolveMode mode);

// Fails when the option "frontend.caps" asks for what this frontend does not have.
absl::Status CheckFrontendCaps(const Options& options);
// UNIMPLEMENTED with the detail that clients look for before they try another way.
absl::Status UnsupportedCap(absl::string_view name);

// options[name], or empty.
const std::string& Option(const Options& options, const std::string& name);

}  // namespace cachalot::dockerfile
