// What one build's steps did with the network, where that goes through proxies of ours.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/guarded.h"

namespace cachalot::op {

// One request that was let through.
struct ProxyRecord {
  std::string method;
  std::string url;       // without credentials and default port
  int status = 0;        // of the answer; 502 when there was none
  std::string redirect;  // where the answer sends the client, or empty
  std::string digest;    // of the answer's whole body ("sha256:..."), or empty
  // Why the answer cannot be told as a material of the build ("partial_response", ...; the words are BuildKit's), or empty.
  std::string gap;
};

// Asks about a request: the URL to get instead of `url` (mostly the same), or why it is refused.
using ProxyCheck = std::function<absl::StatusOr<std::string>(const std::string& method, const std::string& url)>;

// Shared by the steps of one build. Thread-safe.
struct ProxyUse {
  ProxyCheck check;                                                  // null: everything is let through
  Guarded<std::map<std::string, std::vector<ProxyRecord>>> records;  // by the digest of the step's vertex
};

}  // namespace cachalot::op
