// Which servers speak for a registry: its mirrors and itself, with the way to reach each.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "oci/reference.h"
#include "registry/client.h"
#include "registry/http.h"

namespace cachalot::registry {

struct Host {
  std::string scheme;             // "https" or "http"
  std::string authority;          // "registry-1.docker.io", "localhost:5000"
  std::string path;               // "/v2", with a mirror's own path behind it
  std::string mirrored_registry;  // the registry that a mirror stands in for; empty for the registry itself
  TlsSettings tls;
  bool http_fallback = false;  // try plain http where https finds no TLS

  // The URL of "<path>/<repository>/<what>", such as "manifests/latest". `what` may carry a query.
  std::string Url(absl::string_view repository, absl::string_view what) const;
};

// Mirrors first when `mirrors`, then the registry itself.
std::vector<Host> HostsOf(const HostConfigs& configs, const std::string& registry, bool insecure, bool mirrors);

// "localhost", 127.0.0.0/8 or ::1, with or without a port.
bool IsLoopbackAuthority(absl::string_view authority);

}  // namespace cachalot::registry
