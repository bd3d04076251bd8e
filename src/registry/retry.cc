#include "registry/retry.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "oci/go_json.h"

namespace cachalot::registry {
namespace {

constexpr int kMaxFailures = 8;
constexpr int kMaxTotal = 1000;
constexpr absl::Duration kFirstDelay = absl::Milliseconds(50);
constexpr absl::Duration kLongestDelay = absl::Seconds(2);
constexpr absl::Duration kLongestAsked = absl::Seconds(30);
constexpr std::size_t kMaxPrintedBody = 256;

// "code: message" of each error in a registry's JSON answer.
std::string RegistryErrors(const std::string& body) {
  absl::StatusOr<oci::Json> json = oci::ParseJson(body, "error");
  if (!json.ok() || !json->is_object()) return "";
  absl::Status status;
  oci::ObjectReader reader(*json, "error", status);
  std::vector<std::string> out;
  reader.Each("errors", [&](const oci::Json& entry, const std::string& where) {
    oci::ObjectReader members(entry, where, status);
    const std::string code = absl::AsciiStrToLower(members.String("code"));
    const std::string message = members.String("message");
    out.push_back(message.empty() ? code : absl::StrCat(code, ": ", message));
  });
  return absl::StrJoin(out, "\n");
}

absl::StatusCode CodeOf(int status) {
  switch (status) {
    case 401: return absl::StatusCode::kUnauthenticated;
    case 403: return absl::StatusCode::kPermissionDenied;
    case 404: return absl::StatusCode::kNotFound;
    case 429: return absl::StatusCode::kResourceExhausted;
    default: return status >= 500 ? absl::StatusCode::kUnavailable : absl::StatusCode::kUnknown;
  }
}

}  // namespace

absl::StatusOr<bool> Backoff::Again(const CancelToken& cancel, absl::Duration asked) {
  if (++failures_ >= kMaxFailures || ++total_ >= kMaxTotal) return false;
  const absl::Duration own = std::min(kLongestDelay, kFirstDelay * (1 << (failures_ - 1)));
  RETURN_IF_ERROR(Pause(std::max(own, asked), cancel));
  return true;
}

absl::Duration RetryAfter(const HttpResponse& response) {
  std::int64_t seconds = 0;
  if (!absl::SimpleAtoi(response.Header("Retry-After"), &seconds) || seconds < 0) return absl::ZeroDuration();
  return std::min(kLongestAsked, absl::Seconds(seconds));
}

absl::StatusOr<HttpResponse> DoWithRetries(HttpTransport& transport, const HttpRequest& request) {
  Backoff backoff;
  while (true) {
    absl::StatusOr<HttpResponse> response = transport.Do(request);
    const bool transient = response.ok() ? IsTransientStatus(response->status) : FailureOf(response.status()) == HttpFailure::kTransient;
    if (!transient) return response;
    ASSIGN_OR_RETURN(const bool again, backoff.Again(request.cancel, response.ok() ? RetryAfter(*response) : absl::ZeroDuration()));
    if (!again) return response;
  }
}

absl::Status FetchOnce(HttpTransport& transport, const HttpRequest& request, std::optional<absl::Duration>& pause) {
  const absl::StatusOr<HttpResponse> response = transport.Do(request);
  pause.reset();
  if (!response.ok()) {
    if (FailureOf(response.status()) == HttpFailure::kTransient) pause = absl::ZeroDuration();
    return response.status();
  }
  if (response->ok()) return absl::OkStatus();
  if (IsTransientStatus(response->status)) pause = RetryAfter(*response);
  return UnexpectedStatus(*response);
}

absl::Status UnexpectedStatus(const HttpResponse& response) {
  std::string text =
      absl::StrCat("unexpected status from ", response.method, " request to ", RedactUrl(response.url), ": ", response.status, " ", response.reason);
  std::string detail = RegistryErrors(response.body);
  if (detail.empty()) detail = absl::Utf8SafeCEscape(response.body.substr(0, kMaxPrintedBody));
  if (!detail.empty()) absl::StrAppend(&text, ": ", detail);
  return absl::Status(CodeOf(response.status), text);
}

}  // namespace cachalot::registry
