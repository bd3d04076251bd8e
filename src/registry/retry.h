// When to try a request again, and what to say when it is in vain.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "registry/http.h"

namespace cachalot::registry {

inline constexpr char kUserAgent[] = "cachalot/0.1";

// Counts tries that got nowhere. A server that fails one request in five makes eight in a row about as rare as one in 400,000.
class Backoff {
 public:
  // Whether another try is allowed; waits before it: `asked` (Retry-After) if that is longer than our own delay.
  absl::StatusOr<bool> Again(const CancelToken& cancel, absl::Duration asked = absl::ZeroDuration());
  // There was progress: start counting anew.
  void Reset() { failures_ = 0; }

 private:
  int failures_ = 0;
  int total_ = 0;
};

// Repeats a request without on_data while it fails in ways that may pass.
absl::StatusOr<HttpResponse> DoWithRetries(HttpTransport& transport, const HttpRequest& request);
// A request with on_data, once. When it fails in a way that may pass, `pause` becomes the time that the server asks to wait.
absl::Status FetchOnce(HttpTransport& transport, const HttpRequest& request, std::optional<absl::Duration>& pause);
// How long a response asks to wait, within reason.
absl::Duration RetryAfter(const HttpResponse& response);
// "unexpected status from <method> request to <url>: 500 Internal Server Error", with the registry's own words if it sent any.
absl::Status UnexpectedStatus(const HttpResponse& response);

}  // namespace cachalot::registry
