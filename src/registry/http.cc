#include "registry/http.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/guarded.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "registry/transfer.h"

namespace cachalot::registry {
namespace {

constexpr int kMaxRedirects = 10;
constexpr std::size_t kMaxIdleChannels = 32;

// The DNS and TLS session caches of all channels.
class SharedCaches {
 public:
  SharedCaches() {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
    handle_ = curl_share_init();
    curl_share_setopt(handle_, CURLSHOPT_LOCKFUNC, &Lock);
    curl_share_setopt(handle_, CURLSHOPT_UNLOCKFUNC, &Unlock);
    curl_share_setopt(handle_, CURLSHOPT_USERDATA, this);
    curl_share_setopt(handle_, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    curl_share_setopt(handle_, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
  }
  ~SharedCaches() { curl_share_cleanup(handle_); }
  SharedCaches(const SharedCaches&) = delete;
  CURLSH* handle() const { return handle_; }

 private:
  static void Lock(CURL*, curl_lock_data data, curl_lock_access, void* self) { static_cast<SharedCaches*>(self)->mutexes_[data].lock(); }
  static void Unlock(CURL*, curl_lock_data data, void* self) { static_cast<SharedCaches*>(self)->mutexes_[data].unlock(); }

  std::array<std::mutex, CURL_LOCK_DATA_LAST> mutexes_;
  CURLSH* handle_;
};

bool IsRedirect(int status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }

// Session tokens of object stores are secrets, too.
bool IsSecret(absl::string_view header) {
  return absl::EqualsIgnoreCase(header, "Authorization") || absl::EqualsIgnoreCase(header, "Proxy-Authorization") ||
         absl::EqualsIgnoreCase(header, "Cookie") || absl::StartsWithIgnoreCase(header, "x-amz-") || absl::StartsWithIgnoreCase(header, "x-ms-");
}

HttpHeaders WithoutSecrets(HttpHeaders headers) {
  std::erase_if(headers, [](const auto& header) { return IsSecret(header.first); });
  return headers;
}

class Transport final : public HttpTransport {
 public:
  explicit Transport(OpenSocket open_socket) : open_socket_(std::move(open_socket)) {}
  absl::StatusOr<HttpResponse> Do(const HttpRequest& request) override {
    std::string url = request.url;
    std::string method = request.method;
    HttpHeaders headers = request.headers;
    bool send_body = request.body_size >= 0;
    for (int hop = 0; hop <= kMaxRedirects; ++hop) {
      ASSIGN_OR_RETURN(HttpResponse response, Perform(request, method, url, headers, send_body));
      const std::string location = response.Header("Location");
      const bool reads = method == "GET" || method == "HEAD";
      if (!request.follow_redirects || !IsRedirect(response.status) || location.empty()) return response;
      if (!reads && response.status != 307 && response.status != 308) return response;
      ASSIGN_OR_RETURN(std::string next, ResolveUrl(url, location));
      if (OriginOf(next).empty()) return absl::InvalidArgumentError(absl::StrCat("redirect from ", RedactUrl(url), " to something other than http"));
      if (OriginOf(next) != OriginOf(url)) headers = WithoutSecrets(std::move(headers));
      url = std::move(next);
    }
    return absl::UnavailableError(absl::StrCat(method, " \"", RedactUrl(request.url), "\": stopped after ", kMaxRedirects, " redirects"));
  }

 private:
  absl::StatusOr<HttpResponse> Perform(const HttpRequest& request, const std::string& method, const std::string& url, const HttpHeaders& headers,
                                       bool send_body) {
    // Connections are only shared between requests of equal trust.
    const std::string key = absl::StrCat(OriginOf(url), "|", request.tls.insecure, "|", absl::StrJoin(request.tls.root_cas, ","), "|",
                                         request.tls.key_pairs.empty() ? "" : request.tls.key_pairs.front().second);
    std::unique_ptr<Channel> channel = Take(key);
    HttpResponse response;
    const absl::Status status = channel->Perform(request, method, url, headers, send_body, response);
    if (status.ok()) Return(key, std::move(channel));
    if (!status.ok()) return status;
    return response;
  }

  std::unique_ptr<Channel> Take(const std::string& key) {
    {
      auto idle = idle_.Lock();
      if (const auto it = idle->find(key); it != idle->end()) {
        std::unique_ptr<Channel> channel = std::move(it->second);
        idle->erase(it);
        return channel;
      }
    }
    return std::make_unique<Channel>(caches_.handle(), open_socket_ ? &open_socket_ : nullptr);
  }

  void Return(const std::string& key, std::unique_ptr<Channel> channel) {
    auto idle = idle_.Lock();
    if (idle->size() >= kMaxIdleChannels) idle->erase(idle->begin());
    idle->emplace(key, std::move(channel));
  }

  const OpenSocket open_socket_;
  SharedCaches caches_;
  Guarded<std::multimap<std::string, std::unique_ptr<Channel>>> idle_;
};

using Url = std::unique_ptr<CURLU, void (*)(CURLU*)>;

std::string Part(const Url& url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, flags) != CURLUE_OK) return "";
  std::string out = text;
  curl_free(text);
  return out;
}

}  // namespace

std::unique_ptr<HttpTransport> HttpTransport::Create() { return std::make_unique<Transport>(nullptr); }

std::unique_ptr<HttpTransport> HttpTransport::CreateOver(OpenSocket open_socket) { return std::make_unique<Transport>(std::move(open_socket)); }

std::string HttpResponse::Header(absl::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (absl::EqualsIgnoreCase(key, name)) return value;
  }
  return "";
}

std::vector<std::string> HttpResponse::AllHeaders(absl::string_view name) const {
  std::vector<std::string> out;
  for (const auto& [key, value] : headers) {
    if (absl::EqualsIgnoreCase(key, name)) out.push_back(value);
  }
  return out;
}

std::int64_t HttpResponse::content_length() const {
  std::int64_t length = -1;
  return absl::SimpleAtoi(Header("Content-Length"), &length) && length >= 0 ? length : -1;
}

void SetBody(HttpRequest& request, absl::string_view bytes) {
  request.body_size = static_cast<std::int64_t>(bytes.size());
  request.body = [bytes](std::int64_t offset, char* out, std::size_t room) -> absl::StatusOr<std::size_t> {
    const std::size_t size = std::min(room, bytes.size() - static_cast<std::size_t>(offset));
    std::memcpy(out, bytes.data() + offset, size);
    return size;
  };
}

HttpFailure FailureOf(const absl::Status& status) {
  const auto payload = status.GetPayload("cachalot/http");
  int kind = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &kind)) return HttpFailure::kNone;
  return static_cast<HttpFailure>(kind);
}

bool IsTransientStatus(int status) { return status == 408 || status == 429 || (status >= 500 && status != 501 && status != 505); }

std::string OriginOf(const std::string& url) {
  const Url parsed(curl_url(), &curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return "";
  const std::string scheme = absl::AsciiStrToLower(Part(parsed, CURLUPART_SCHEME));
  if (scheme != "http" && scheme != "https") return "";
  const std::string port = Part(parsed, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
  return absl::StrCat(scheme, "://", absl::AsciiStrToLower(Part(parsed, CURLUPART_HOST)), port.empty() ? "" : ":", port);
}

absl::StatusOr<std::string> ResolveUrl(const std::string& base, const std::string& reference) {
  const Url parsed(curl_url(), &curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, base.c_str(), 0) != CURLUE_OK ||
      curl_url_set(parsed.get(), CURLUPART_URL, reference.c_str(), CURLU_URLENCODE) != CURLUE_OK) {
    return absl::InvalidArgumentError(absl::StrCat("unable to parse location ", absl::CEscape(reference)));
  }
  return Part(parsed, CURLUPART_URL);
}

std::string RedactUrl(const std::string& url) {
  const Url parsed(curl_url(), &curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return absl::CEscape(url.substr(0, 200));
  curl_url_set(parsed.get(), CURLUPART_USER, nullptr, 0);
  curl_url_set(parsed.get(), CURLUPART_PASSWORD, nullptr, 0);
  std::vector<std::string> query = absl::StrSplit(Part(parsed, CURLUPART_QUERY), '&', absl::SkipEmpty());
  for (std::string& pair : query) {
    const std::size_t equals = pair.find('=');
    if (equals != std::string::npos && !absl::StartsWith(pair, "ns=")) pair = absl::StrCat(pair.substr(0, equals), "=REDACTED");
  }
  curl_url_set(parsed.get(), CURLUPART_QUERY, query.empty() ? nullptr : absl::StrJoin(query, "&").c_str(), 0);
  return Part(parsed, CURLUPART_URL);
}

std::string EscapeQuery(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~') {
      out += c;
    } else {
      absl::StrAppend(&out, "%", absl::AsciiStrToUpper(absl::BytesToHexString(absl::string_view(&c, 1))));
    }
  }
  return out;
}

absl::Status Pause(absl::Duration duration, const CancelToken& cancel) {
  struct Shared {
    Guarded<bool> woken{false};
  };
  const auto shared = std::make_shared<Shared>();
  const CancelToken::Registration wake = cancel.OnCancel([shared] {
    *shared->woken.Lock() = true;
    shared->woken.NotifyAll();
  });
  auto woken = shared->woken.Lock();
  woken.WaitUntil(std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(duration), [](bool value) { return value; });
  return cancel.status();
}

}  // namespace cachalot::registry
