// Where a container's network comes from.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::runtime {

// One container's network; its destruction releases it.
class ContainerNetwork {
 public:
  virtual ~ContainerNetwork() = default;
  // True when the container uses the host's network namespace.
  virtual bool is_host() const = 0;
  // The path of the network namespace to join; empty: a new one with nothing but loopback (unless is_host()).
  virtual std::string namespace_path() const = 0;
};

// Thread-safe. Outlives the networks that it hands out.
class NetworkProvider {
 public:
  virtual ~NetworkProvider() = default;
  // `hostname` is the name that the container was given, or empty: others may find it by this name where plugins offer that.
  virtual absl::StatusOr<std::unique_ptr<ContainerNetwork>> Attach(absl::string_view container_id, absl::string_view hostname) = 0;
};

std::unique_ptr<NetworkProvider> NewHostNetwork();
std::unique_ptr<NetworkProvider> NewNoNetwork();
// The namespace at `path`, which is its owner's.
std::unique_ptr<ContainerNetwork> JoinNetwork(std::string path);

struct CniConfig {
  std::string config_path;  // a network configuration (*.conf, *.json) or a list of them (*.conflist)
  std::string plugin_dir;
  int pool_size = 16;  // idle networks that are kept for the next containers
  // Instead of the file: a bridge of this name, made for us and removed at the end unless it was there before.
  bool bridge = false;
  std::string bridge_name = "buildkit0", bridge_subnet = "10.10.0.0/16";
};

// Networks set up by plugins of the Container Network Interface (https://www.cni.dev/docs/spec), each in a namespace of its own, which
// is pinned in `state_dir`. What an earlier life left there is released. One owner of `state_dir` at a time.
absl::StatusOr<std::unique_ptr<NetworkProvider>> NewCniNetwork(const CniConfig& config, const std::string& state_dir);

}  // namespace cachalot::runtime
