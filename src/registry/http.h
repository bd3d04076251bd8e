// HTTP(S) requests over libcurl: streaming both ways, pooled connections, redirects that keep credentials at home, prompt
// cancellation. Registries and downloads share it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancel.h"

namespace cachalot::registry {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct TlsSettings {
  bool insecure = false;                                       // accept any certificate
  std::vector<std::string> root_cas;                           // PEM files, trusted beside the system's
  std::vector<std::pair<std::string, std::string>> key_pairs;  // key file, certificate file; the first one is used
};

struct HttpResponse {
  int status = 0;
  std::string reason;   // "Not Found"
  HttpHeaders headers;  // of the final response, in order
  std::string method;
  std::string url;   // after redirects
  std::string body;  // what on_data did not take: at most max_body bytes, or 64 KiB of an error's

  // The first header of that name (any case), or empty.
  std::string Header(absl::string_view name) const;
  std::vector<std::string> AllHeaders(absl::string_view name) const;
  // Content-Length, or -1.
  std::int64_t content_length() const;
  bool ok() const { return status >= 200 && status < 300; }
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  HttpHeaders headers{};
  // The body, if body_size is not negative: reads up to `room` bytes at `offset`; asked from 0 again when it is sent again.
  std::int64_t body_size = -1;
  std::function<absl::StatusOr<std::size_t>(std::int64_t offset, char* out, std::size_t room)> body{};
  TlsSettings tls{};
  bool accept_gzip = false;      // asks for gzip as the content's encoding on the way, and undoes it
  bool follow_redirects = true;  // GET and HEAD always; other methods on 307 and 308
  CancelToken cancel{};
  absl::Duration stall_timeout = absl::Minutes(3);  // without a byte in either direction
  // Called once when a 2xx response begins; an error ends the request with it.
  std::function<absl::Status(const HttpResponse&)> on_head{};
  // Both are called for responses of every status: whoever passes them on has no use for their meaning.
  bool any_status = false;
  // Takes the bytes of a 2xx response; an error ends the request with it. Without it they gather in HttpResponse::body.
  std::function<absl::Status(absl::string_view)> on_data{};
  std::size_t max_body = 8 << 20;  // more is a RESOURCE_EXHAUSTED error
};

// A body for HttpRequest from memory that outlives the request.
void SetBody(HttpRequest& request, absl::string_view bytes);

// Why a request got no (whole) response.
enum class HttpFailure {
  kNone,       // the status is not from the network
  kTransient,  // broken or timed out: worth another try
  kRefused,    // no one listens there, or there is no such host
  kNotTls,     // the server speaks plain HTTP
  kOther,      // such as an untrusted certificate
};
HttpFailure FailureOf(const absl::Status& status);
// Whether an HTTP status asks to come back later (408, 429, most 5xx).
bool IsTransientStatus(int status);

// Thread-safe. A request occupies the calling thread.
class HttpTransport {
 public:
  // Opens a socket as socket(2) does, or returns -1. For connections from another network namespace than this thread's.
  using OpenSocket = std::function<int(int family, int type, int protocol)>;
  static std::unique_ptr<HttpTransport> Create();
  // All requests go out by such sockets, past the proxies of this process's environment.
  static std::unique_ptr<HttpTransport> CreateOver(OpenSocket open_socket);
  virtual ~HttpTransport() = default;
  // Any HTTP status is a response; errors are failures to get one, and read `<method> "<url>": <reason>`. FailureOf tells them
  // apart. Cancellation is CANCELLED (or the token's own reason).
  virtual absl::StatusOr<HttpResponse> Do(const HttpRequest& request) = 0;
};

// "scheme://host[:port]" of a URL, lower case, the default port left out; empty when it is no http(s) URL.
std::string OriginOf(const std::string& url);
// `reference` (perhaps relative) as seen from `base`.
absl::StatusOr<std::string> ResolveUrl(const std::string& base, const std::string& reference);
// `url` without user names, passwords and query values: fit for logs and errors.
std::string RedactUrl(const std::string& url);
std::string EscapeQuery(absl::string_view text);
// Waits, or returns the token's status when cancelled first.
absl::Status Pause(absl::Duration duration, const CancelToken& cancel);

}  // namespace cachalot::registry
