#include "registry/transfer.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::registry {
namespace {

constexpr std::size_t kMaxErrorBody = 64 << 10;
constexpr std::size_t kMaxHeaderBytes = 1 << 20;
constexpr long kBufferBytes = 512 << 10;
constexpr long kConnectTimeoutMs = 30000;

// State of one exchange, shared with libcurl's callbacks.
struct Exchange {
  const HttpRequest& request;
  HttpResponse& response;
  std::int64_t sent = 0;
  std::size_t header_bytes = 0;
  bool in_body = false;
  absl::Status failure;  // of one of our own functions
};

bool Streams(const Exchange& exchange) { return exchange.response.ok() || exchange.request.any_status; }

bool Fail(Exchange& exchange, absl::Status status) {
  if (!status.ok() && exchange.failure.ok()) exchange.failure = std::move(status);
  return !exchange.failure.ok();
}

void StartHead(absl::string_view line, HttpResponse& response) {
  response.headers.clear();
  response.status = 0;
  response.reason.clear();
  const std::size_t space = line.find(' ');
  if (space == absl::string_view::npos) return;
  const absl::string_view rest = absl::StripLeadingAsciiWhitespace(line.substr(space));
  (void)absl::SimpleAtoi(rest.substr(0, 3), &response.status);
  response.reason = std::string(absl::StripAsciiWhitespace(rest.substr(std::min<std::size_t>(3, rest.size()))));
}

std::size_t OnHeader(char* data, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const absl::string_view raw(data, size * count);
  const absl::string_view line = absl::StripAsciiWhitespace(raw);
  exchange.header_bytes += raw.size();
  if (exchange.header_bytes > kMaxHeaderBytes && Fail(exchange, absl::ResourceExhaustedError("response headers are too large"))) return 0;
  if (exchange.in_body) return raw.size();  // a trailer
  if (absl::StartsWith(line, "HTTP/")) {
    StartHead(line, exchange.response);
  } else if (!line.empty()) {
    const std::size_t colon = line.find(':');
    if (colon != absl::string_view::npos) {
      exchange.response.headers.emplace_back(std::string(line.substr(0, colon)), std::string(absl::StripAsciiWhitespace(line.substr(colon + 1))));
    }
  } else if (exchange.response.status >= 200) {
    exchange.in_body = true;
    if (Streams(exchange) && exchange.request.on_head && Fail(exchange, exchange.request.on_head(exchange.response))) return 0;
  }
  return raw.size();
}

std::size_t OnBody(char* data, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const absl::string_view bytes(data, size * count);
  std::string& body = exchange.response.body;
  if (!Streams(exchange)) {
    body.append(bytes.data(), std::min(bytes.size(), kMaxErrorBody - std::min(kMaxErrorBody, body.size())));
  } else if (exchange.request.on_data) {
    if (Fail(exchange, exchange.request.on_data(bytes))) return 0;
  } else if (body.size() + bytes.size() > exchange.request.max_body) {
    Fail(exchange, absl::ResourceExhaustedError(
                       absl::StrCat("response of ", RedactUrl(exchange.response.url), " is larger than ", exchange.request.max_body, " bytes")));
    return 0;
  } else {
    body.append(bytes.data(), bytes.size());
  }
  return bytes.size();
}

std::size_t OnRead(char* out, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::size_t room = std::min<std::uint64_t>(size * count, exchange.request.body_size - exchange.sent);
  if (room == 0) return 0;
  absl::StatusOr<std::size_t> got = exchange.request.body(exchange.sent, out, room);
  if (got.ok() && *got == 0) got = absl::DataLossError("request body ended early");
  if (!got.ok()) {
    Fail(exchange, got.status());
    return CURL_READFUNC_ABORT;
  }
  exchange.sent += static_cast<std::int64_t>(*got);
  return *got;
}

int OnSeek(void* user, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Exchange*>(user)->sent = offset;
  return CURL_SEEKFUNC_OK;
}

// The sockets must not leak into the programs that builds run.
curl_socket_t OnSocket(void* user, curlsocktype, curl_sockaddr* address) {
  const auto* open_socket = static_cast<const HttpTransport::OpenSocket*>(user);
  if (open_socket != nullptr) return (*open_socket)(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

CURLcode OnSslContext(CURL*, void* context, void* user) {
  for (const std::string& path : static_cast<const TlsSettings*>(user)->root_cas) {
    if (SSL_CTX_load_verify_locations(static_cast<SSL_CTX*>(context), path.c_str(), nullptr) != 1) return CURLE_SSL_CACERT_BADFILE;
  }
  return CURLE_OK;
}

void SetTls(CURL* easy, const TlsSettings& tls) {
  if (tls.insecure) {
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (!tls.root_cas.empty()) {
    // The caches of certificate stores and of sessions would carry our extra roots over to other requests.
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, &OnSslContext);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, const_cast<TlsSettings*>(&tls));
  }
  if (!tls.key_pairs.empty()) {
    curl_easy_setopt(easy, CURLOPT_SSLKEY, tls.key_pairs.front().first.c_str());
    curl_easy_setopt(easy, CURLOPT_SSLCERT, tls.key_pairs.front().second.c_str());
  }
}

bool IsLoopback(const std::string& url) {
  absl::string_view host = url;
  if (const std::size_t slashes = host.find("://"); slashes != absl::string_view::npos) host.remove_prefix(slashes + 3);
  return absl::StartsWith(host, "localhost") || absl::StartsWith(host, "127.") || absl::StartsWith(host, "[::1]");
}

// Proxies come from the environment (HTTP_PROXY in capitals too), but never serve the loopback.
void SetProxy(CURL* easy, const std::string& url) {
  if (IsLoopback(url)) {
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
  } else if (const char* proxy = getenv("HTTP_PROXY"); proxy != nullptr && getenv("http_proxy") == nullptr && absl::StartsWith(url, "http://")) {
    curl_easy_setopt(easy, CURLOPT_PROXY, proxy);
  }
}

void SetMethod(CURL* easy, const HttpRequest& request, const std::string& method, bool send_body) {
  if (method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (send_body) {
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body_size));
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, kBufferBytes);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method.c_str());
  } else if (method != "GET") {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, 0L);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method.c_str());
  }
}

void SetCallbacks(CURL* easy, Exchange& exchange, char* detail) {
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &OnHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &OnBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_READFUNCTION, &OnRead);
  curl_easy_setopt(easy, CURLOPT_READDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, &OnSeek);
  curl_easy_setopt(easy, CURLOPT_SEEKDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &OnSocket);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
}

void SetGeneral(CURL* easy, CURLSH* share, const HttpRequest& request, const std::string& url) {
  curl_easy_setopt(easy, CURLOPT_SHARE, share);
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  // a name look-up in progress must not hold up cancellation
  // One stream per connection: HTTP/2's flow control slows large blobs down.
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kBufferBytes);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, std::max<long>(1, absl::ToInt64Seconds(request.stall_timeout)));
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  if (request.accept_gzip) curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
  SetTls(easy, request.tls);
  SetProxy(easy, url);
}

// Names and values come from images and clients: none may end its line and begin another header or request.
absl::Status CheckHeaders(const HttpHeaders& headers) {
  const auto is_control = [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)) && c != '\t'; };
  for (const auto& [name, value] : headers) {
    const bool token = !name.empty() && absl::c_none_of(name, [&](char c) { return is_control(c) || absl::StrContains(": \t", c); });
    if (!token) return absl::InvalidArgumentError(absl::StrCat("invalid header name \"", absl::CEscape(name), "\""));
    if (absl::c_any_of(value, is_control)) return absl::InvalidArgumentError(absl::StrCat("invalid value of header ", name));
  }
  return absl::OkStatus();
}

curl_slist* HeaderList(const HttpHeaders& headers, bool send_body) {
  curl_slist* list = curl_slist_append(nullptr, "Expect:");
  bool typed = false;
  for (const auto& [name, value] : headers) {
    list = curl_slist_append(list, absl::StrCat(name, ": ", value).c_str());
    typed = typed || absl::EqualsIgnoreCase(name, "Content-Type");
  }
  return typed ? list : curl_slist_append(list, "Content-Type:");
}

}  // namespace

absl::Status TransferError(CURL* easy, CURLcode code, const char* detail, const std::string& method, const std::string& url) {
  // Go's spelling of the method and its words for the common reasons: people and scripts know them.
  std::string name = method;
  std::transform(name.begin() + 1, name.end(), name.begin() + 1, [](char c) { return absl::ascii_tolower(c); });
  HttpFailure failure = HttpFailure::kTransient;
  std::string reason = detail[0] != '\0' ? detail : curl_easy_strerror(code);
  const std::string authority(absl::StripPrefix(absl::StripPrefix(OriginOf(url), "https://"), "http://"));
  long number = 0;
  curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &number);
  if (code == CURLE_COULDNT_CONNECT) {
    failure = HttpFailure::kRefused;
    if (number != 0)
      reason =
          absl::StrCat("dial tcp ", authority, ": connect: ", absl::AsciiStrToLower(ErrnoError("", static_cast<int>(number)).message().substr(2)));
  } else if (code == CURLE_COULDNT_RESOLVE_HOST) {
    failure = HttpFailure::kRefused;
    reason = absl::StrCat("dial tcp: lookup ", authority.substr(0, authority.rfind(':')), ": no such host");
  } else if (code == CURLE_SSL_CONNECT_ERROR && absl::StrContains(reason, "wrong version number")) {
    failure = HttpFailure::kNotTls;
    reason = "http: server gave HTTP response to HTTPS client";
  } else if (code == CURLE_PEER_FAILED_VERIFICATION) {
    failure = HttpFailure::kOther;
    reason = absl::StrCat("tls: failed to verify certificate: ", reason);
  } else if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE) {
    failure = HttpFailure::kOther;
  }
  absl::Status status = absl::UnavailableError(absl::StrCat(name, " \"", RedactUrl(url), "\": ", reason));
  status.SetPayload("cachalot/http", absl::Cord(absl::StrCat(static_cast<int>(failure))));
  return status;
}

Channel::Channel(CURLSH* share, const HttpTransport::OpenSocket* open_socket)
    : share_(share), open_socket_(open_socket), multi_(curl_multi_init()), easy_(curl_easy_init()) {}

Channel::~Channel() {
  curl_easy_cleanup(easy_);
  curl_multi_cleanup(multi_);
}

absl::Status Channel::Perform(const HttpRequest& request, const std::string& method, const std::string& url, const HttpHeaders& headers,
                              bool send_body, HttpResponse& response) {
  if (multi_ == nullptr || easy_ == nullptr) return absl::ResourceExhaustedError("libcurl: out of memory");
  RETURN_IF_ERROR(request.cancel.status());
  RETURN_IF_ERROR(CheckHeaders(headers));
  response = HttpResponse{};
  response.method = method;
  response.url = url;
  Exchange exchange{.request = request, .response = response, .failure = {}};
  std::array<char, CURL_ERROR_SIZE> detail{};
  curl_easy_reset(easy_);
  SetGeneral(easy_, share_, request, url);
  SetMethod(easy_, request, method, send_body);
  SetCallbacks(easy_, exchange, detail.data());
  if (open_socket_ != nullptr) {
    curl_easy_setopt(easy_, CURLOPT_OPENSOCKETDATA, const_cast<HttpTransport::OpenSocket*>(open_socket_));
    curl_easy_setopt(easy_, CURLOPT_PROXY, "");
  }
  const std::unique_ptr<curl_slist, void (*)(curl_slist*)> list(HeaderList(headers, send_body), &curl_slist_free_all);
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, list.get());

  curl_multi_add_handle(multi_, easy_);
  CURLcode code = CURLE_OK;
  {
    const CancelToken::Registration wake = request.cancel.OnCancel([this] { curl_multi_wakeup(multi_); });
    int running = 1;
    while (running > 0 && !request.cancel.cancelled()) {
      if (curl_multi_perform(multi_, &running) != CURLM_OK) break;
      if (running > 0) curl_multi_poll(multi_, nullptr, 0, 1000, nullptr);
    }
    int left = 0;
    const CURLMsg* message = curl_multi_info_read(multi_, &left);
    code = message != nullptr && message->msg == CURLMSG_DONE ? message->data.result : CURLE_ABORTED_BY_CALLBACK;
  }
  absl::Status status;
  if (!exchange.failure.ok()) {
    status = exchange.failure;
  } else if (code != CURLE_OK) {
    status = request.cancel.cancelled() ? request.cancel.status() : TransferError(easy_, code, detail.data(), method, url);
  }
  curl_multi_remove_handle(multi_, easy_);
  return status;
}

}  // namespace cachalot::registry
