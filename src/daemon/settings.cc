#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "daemon/config.h"

namespace cachalot::daemon {

namespace {

constexpr char kDefaultCniConfig[] = "/etc/buildkit/cni.json";
constexpr char kDefaultCniBinaries[] = "/opt/cni/bin";

absl::Status CheckWorkers(const Settings& settings) {
  if (settings.containerd_worker.value_or(false)) {
    return absl::InvalidArgumentError("the containerd worker isn't supported: steps run with the OCI worker");
  }
  if (!settings.oci_worker.value_or(true)) {
    return absl::InvalidArgumentError("no worker found: the OCI worker is disabled, and there is no other");
  }
  if (!settings.snapshotter.empty() && settings.snapshotter != "auto" && settings.snapshotter != "overlayfs") {
    return absl::InvalidArgumentError(absl::StrCat("snapshotter ", settings.snapshotter, " isn't supported: only overlayfs is"));
  }
  return absl::OkStatus();
}

absl::Status FinishNetwork(Settings& settings) {
  const std::string& mode = settings.network_mode;
  runtime::Runtime::Config& runtime = settings.engine.runtime;
  if (runtime.cni_config.empty()) runtime.cni_config = kDefaultCniConfig;
  if (runtime.cni_bin_dir.empty()) runtime.cni_bin_dir = kDefaultCniBinaries;
  if (mode.empty() || mode == "auto") {
    std::error_code error;
    if (!std::filesystem::exists(runtime.cni_config, error)) runtime.cni_config.clear();
  } else if (mode == "host") {
    runtime.cni_config.clear();
  } else if (mode != "cni") {
    return absl::InvalidArgumentError(absl::StrCat("network mode ", mode, " isn't supported: auto, host and cni are"));
  }
  return absl::OkStatus();
}

absl::Status FinishEntitlements(Settings& settings) {
  for (const std::string& entitlement : settings.entitlements) {
    if (entitlement != "security.insecure" && entitlement != "network.host" && entitlement != "device") {
      return absl::InvalidArgumentError(absl::StrCat("invalid entitlement : ", entitlement));
    }
  }
  settings.engine.insecure_entitlements = settings.entitlements;
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

}  // namespace

absl::Status FinishSettings(const std::string& default_root, const std::string& default_address, Settings& settings) {
  RETURN_IF_ERROR(CheckWorkers(settings));
  RETURN_IF_ERROR(FinishNetwork(settings));
  RETURN_IF_ERROR(FinishEntitlements(settings));
  std::error_code error;
  settings.root = std::filesystem::absolute(settings.root.empty() ? default_root : settings.root, error).lexically_normal().string();
  settings.engine.root = settings.root;
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
