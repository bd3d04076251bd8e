#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "daemon/config.h"

namespace cachalot::daemon {

namespace {

constexpr char kDefaultCniConfig[] = "/etc/buildkit/cni.json";
// BuildKit's, and Debian's package's.
constexpr char kDefaultCniBinaries[] = "/opt/cni/bin", kPackagedCniBinaries[] = "/usr/lib/cni";

absl::Status CheckWorkers(const Settings& settings) {
  if (settings.containerd_worker.value_or(false)) {
    return absl::InvalidArgumentError("the containerd worker isn't supported: steps run with the OCI worker");
  }
  if (!settings.oci_worker.value_or(true)) {
    return absl::InvalidArgumentError("no worker found: the OCI worker is disabled, and there is no other");
  }
  return absl::OkStatus();
}

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// Buildkitd's switch for images that bring the plugins along.
bool BridgeByDefault() {
  const char* value = ::getenv("BUILDKIT_NETWORK_BRIDGE_AUTO");
  bool on = false;
  return value != nullptr && absl::SimpleAtob(value, &on) && on;
}

absl::Status FinishNetwork(Settings& settings) {
  runtime::CniConfig& cni = settings.cni;
  if (cni.config_path.empty()) cni.config_path = kDefaultCniConfig;
  if (cni.plugin_dir.empty()) cni.plugin_dir = Exists(kDefaultCniBinaries) ? kDefaultCniBinaries : kPackagedCniBinaries;
  std::string mode = settings.network_mode;
  if (mode.empty() || mode == "auto") mode = BridgeByDefault() ? "bridge" : Exists(cni.config_path) ? "cni" : "host";
  if (mode != "host" && mode != "cni" && mode != "bridge") return absl::InvalidArgumentError(absl::StrCat("invalid network mode: \"", mode, "\""));
  cni.bridge = mode == "bridge";
  if (mode != "host") settings.engine.runtime.cni = cni;
  return absl::OkStatus();
}

absl::Status FinishEntitlements(Settings& settings) {
  for (const std::string& entitlement : settings.entitlements) {
    if (entitlement != "security.insecure" && entitlement != "network.host" && entitlement != "device") {
      return absl::InvalidArgumentError(absl::StrCat("invalid entitlement : ", entitlement));
    }
  }
  settings.engine.insecure_entitlements = settings.entitlements;
  // Whoever describes devices in files means them to be used.
  if (!settings.engine.cdi.disabled) settings.engine.insecure_entitlements.push_back("device");
  return absl::OkStatus();
}

void FinishPolicies(Settings& settings) {
  build::Config& engine = settings.engine;
  if (!engine.gc) {
    return;
  }
  const std::int64_t total = DiskTotal(settings.root);
  if (settings.policies.empty()) {
    engine.gc_policies = DefaultPolicies(settings.limits, total);
    return;
  }
  for (Settings::Policy& policy : settings.policies) {
    policy.policy.reserved_space = policy.limits.reserved.OnDisk(total);
    policy.policy.max_used_space = policy.limits.max_used.OnDisk(total);
    policy.policy.min_free_space = policy.limits.min_free.OnDisk(total);
    engine.gc_policies.push_back(policy.policy);
  }
}

std::string EnvironmentVariable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

}  // namespace

absl::Status FinishSettings(const std::string& default_root, const std::string& default_address, Settings& settings) {
  RETURN_IF_ERROR(CheckWorkers(settings));
  ASSIGN_OR_RETURN(settings.engine.snapshotter, snapshot::ParseKind(settings.snapshotter));
  RETURN_IF_ERROR(FinishNetwork(settings));
  RETURN_IF_ERROR(FinishEntitlements(settings));
  ASSIGN_OR_RETURN(settings.server.collector, ReadCollectorSettings(EnvironmentVariable));
  std::error_code error;
  settings.root = std::filesystem::absolute(settings.root.empty() ? default_root : settings.root, error).lexically_normal().string();
  settings.engine.root = settings.root;
  if (settings.engine.provenance_env_dir.empty()) settings.engine.provenance_env_dir = kDefaultProvenanceDir;
  if (settings.server.addresses.empty()) {
    settings.server.addresses = {default_address};
  }
  for (const std::string& text : settings.platforms) {
    ASSIGN_OR_RETURN(oci::Platform platform, oci::ParsePlatform(text));
    settings.engine.platforms.push_back(std::move(platform));
  }
  FinishPolicies(settings);
  return absl::OkStatus();
}

}  // namespace cachalot::daemon
