#include "registry/caller.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "registry/retry.h"

namespace cachalot::registry {
namespace {

constexpr int kMaxRefusals = 3;

void SetHeader(HttpHeaders& headers, const std::string& name, const std::string& value) {
  std::erase_if(headers, [&](const auto& header) { return absl::EqualsIgnoreCase(header.first, name); });
  if (!value.empty()) headers.emplace_back(name, value);
}

// What the server said about a refused authorization.
absl::Status Denied(const HttpResponse& response) {
  for (const Challenge& challenge : ParseChallenges(response.AllHeaders("WWW-Authenticate"))) {
    if (const std::string error = challenge.Parameter("error"); !error.empty()) {
      return absl::PermissionDeniedError(absl::StrCat("server message: ", error, ": authorization failed"));
    }
  }
  return absl::OkStatus();
}

bool HasPort(const std::string& authority) { return authority.rfind(':') != std::string::npos && authority.back() != ']'; }

}  // namespace

absl::StatusOr<HttpResponse> Caller::SendOnce(const Host& host, HttpRequest& request) {
  const bool may_fall_back = host.http_fallback && absl::StartsWith(request.url, absl::StrCat("https://", host.authority, "/"));
  const std::string plain_url = absl::StrCat("http://", absl::StripPrefix(request.url, "https://"));
  if (may_fall_back && plain_hosts_.Lock()->count(host.authority) > 0) {
    request.url = plain_url;
    return transport_.Do(request);
  }
  absl::StatusOr<HttpResponse> response = transport_.Do(request);
  const HttpFailure failure = FailureOf(response.status());
  if (!may_fall_back || (failure != HttpFailure::kNotTls && (failure != HttpFailure::kRefused || HasPort(host.authority)))) return response;
  request.url = plain_url;
  response = transport_.Do(request);
  if (response.ok()) plain_hosts_.Lock()->insert(host.authority);
  return response;
}

absl::StatusOr<HttpResponse> Caller::Send(const Target& target, HttpRequest request, const Options& options) {
  for (int refusals = 0;; ++refusals) {
    std::string used;
    if (!target.scopes.empty()) {
      ASSIGN_OR_RETURN(used, authorizer_.Authorize(target.host, target.scopes, options));
    }
    SetHeader(request.headers, "Authorization", used);
    absl::StatusOr<HttpResponse> response = SendOnce(target.host, request);
    if (!response.ok()) {
      if (FailureOf(response.status()) == HttpFailure::kNone) return response;
      return Annotate(response.status(), "failed to do request");
    }
    if (response->status != 401 || target.scopes.empty()) return response;
    if (refusals + 1 >= kMaxRefusals) {
      RETURN_IF_ERROR(Denied(*response));
      return response;
    }
    ASSIGN_OR_RETURN(const bool again, authorizer_.Learn(target.host, *response, used, target.scopes, options));
    if (!again) return response;
  }
}

absl::StatusOr<HttpResponse> Caller::SendWithRetries(const Target& target, const HttpRequest& request, const Options& options) {
  Backoff backoff;
  while (true) {
    absl::StatusOr<HttpResponse> response = Send(target, request, options);
    const bool transient = response.ok() ? IsTransientStatus(response->status) : FailureOf(response.status()) == HttpFailure::kTransient;
    if (!transient) return response;
    ASSIGN_OR_RETURN(const bool again, backoff.Again(options.cancel, response.ok() ? RetryAfter(*response) : absl::ZeroDuration()));
    if (!again) return response;
  }
}

HttpRequest NewRequest(const Host& host, const std::string& method, std::string url, const Options& options) {
  HttpRequest request;
  request.method = method;
  request.url = std::move(url);
  request.headers = {{"User-Agent", kUserAgent}};
  request.tls = host.tls;
  request.cancel = options.cancel;
  return request;
}

absl::Status Published(absl::Status status) {
  status.ErasePayload("cachalot/http");
  return status;
}

}  // namespace cachalot::registry
