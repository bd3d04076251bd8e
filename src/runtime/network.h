// Where a container's network comes from. CNI plugs in here.
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

// Thread-safe.
class NetworkProvider {
 public:
  virtual ~NetworkProvider() = default;
  virtual absl::StatusOr<std::unique_ptr<ContainerNetwork>> Attach(absl::string_view container_id, absl::string_view hostname) = 0;
};

std::unique_ptr<NetworkProvider> NewHostNetwork();
std::unique_ptr<NetworkProvider> NewNoNetwork();

}  // namespace cachalot::runtime
