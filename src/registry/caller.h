// Requests to a registry's hosts: authorized, retried, with the fallback to plain http.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/guarded.h"
#include "registry/auth.h"
#include "registry/client.h"
#include "registry/hosts.h"
#include "registry/http.h"

namespace cachalot::registry {

// Where a request goes.
struct Target {
  Host host;
  std::vector<std::string> scopes;
};

// Thread-safe.
class Caller {
 public:
  explicit Caller(HttpTransport& transport) : transport_(transport), authorizer_(transport) {}

  // One request, authorized. request.url is the one that host.Url() gave. PERMISSION_DENIED: the registry refuses us for good.
  absl::StatusOr<HttpResponse> Send(const Target& target, HttpRequest request, const Options& options);
  // The same, repeated while it fails in ways that may pass: for requests whose response is taken whole.
  absl::StatusOr<HttpResponse> SendWithRetries(const Target& target, const HttpRequest& request, const Options& options);

 private:
  absl::StatusOr<HttpResponse> SendOnce(const Host& host, HttpRequest& request);

  HttpTransport& transport_;
  Authorizer authorizer_;
  Guarded<std::set<std::string>> plain_hosts_;  // authorities that were found to speak plain http
};

// A request of `method` to `url` with what every request has. The url is final: build it with Host::Url.
HttpRequest NewRequest(const Host& host, const std::string& method, std::string url, const Options& options);

// Errors of several hosts: the most telling one wins, the first of equals.
class HostErrors {
 public:
  enum Weight { kNone, kUnreachable, kNotFound, kRefused, kBad };
  void Add(absl::Status status, Weight weight) {
    if (weight > weight_) {
      status_ = std::move(status);
      weight_ = weight;
    }
  }
  Weight weight() const { return weight_; }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
  Weight weight_ = kNone;
};

// Removes what only this room understands from an error that leaves it.
absl::Status Published(absl::Status status);

}  // namespace cachalot::registry
