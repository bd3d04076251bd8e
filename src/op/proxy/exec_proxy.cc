#include "op/proxy/exec_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "base/log.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "codec/sha256.h"
#include "os/network_namespace.h"

namespace cachalot::op {
namespace {

constexpr int kMaxConnections = 128;  // of one step; more wait in the backlog
constexpr int kBacklog = 128;
constexpr int kShareOfDescriptors = 8;  // all steps together use a connection, and one onwards, for each of so many descriptors
constexpr int kRetryMs = 100;           // while other steps have all connections
constexpr std::size_t kMaxChunkedBody = 64 << 20;
constexpr std::size_t kMaxChunkLine = 4096;
constexpr char kUnfinished[] = "body_read_failed";

// The connections of all steps. The process needs its descriptors for more.
class ConnectionCount {
 public:
  bool HasRoom() const {
    struct rlimit limit;
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return true;
    return count_ < std::max<std::int64_t>(1, static_cast<std::int64_t>(limit.rlim_cur) / kShareOfDescriptors);
  }
  void Add(int change) { count_ += change; }

 private:
  std::atomic<std::int64_t> count_ = 0;
};
ConnectionCount& AllConnections() {
  static ConnectionCount count;
  return count;
}

// Headers that concern one connection alone.
bool IsHopHeader(absl::string_view name) {
  for (const char* hop : {"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "TE", "Trailer",
                          "Transfer-Encoding", "Upgrade"}) {
    if (absl::EqualsIgnoreCase(name, hop)) return true;
  }
  return false;
}

std::string HostOf(const std::string& authority) {
  if (absl::StartsWith(authority, "[")) return authority.substr(1, authority.find(']') - 1);
  return authority.substr(0, authority.rfind(':'));
}

std::string PlainAnswer(absl::string_view status, absl::string_view text) {
  return absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ", text.size() + 1,
                      "\r\nConnection: close\r\n\r\n", text, "\n");
}

std::string WithoutCredentials(const std::string& url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  const std::size_t host = scheme + 3, end = std::min(url.find_first_of("/?#", host), url.size());
  const std::size_t at = url.substr(host, end - host).rfind('@');
  return at == std::string::npos ? url : absl::StrCat(url.substr(0, host), url.substr(host + at + 1));
}

// "http://host:80/x" as people write it.
std::string ShownUrl(const std::string& url) {
  const std::string shown = WithoutCredentials(url);
  for (const auto& [scheme, port] : {std::make_pair("http://", ":80"), std::make_pair("https://", ":443")}) {
    if (!absl::StartsWith(shown, scheme)) continue;
    const std::size_t host = absl::string_view(scheme).size(), slash = std::min(shown.find('/', host), shown.size());
    if (absl::EndsWith(absl::string_view(shown).substr(0, slash), port)) {
      return absl::StrCat(shown.substr(0, slash - absl::string_view(port).size()), shown.substr(slash));
    }
  }
  return shown;
}

absl::Status ReadFully(ClientStream& client, std::size_t size, std::string& out) {
  const std::size_t before = out.size();
  out.resize(before + size);
  for (std::size_t at = before; at < out.size();) {
    ASSIGN_OR_RETURN(const std::size_t got, client.Read(out.data() + at, out.size() - at));
    if (got == 0) return absl::DataLossError("the request's body ends early");
    at += got;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadLine(ClientStream& client) {
  std::string line;
  while (!absl::EndsWith(line, "\r\n")) {
    if (line.size() > kMaxChunkLine) return absl::InvalidArgumentError("malformed chunk");
    RETURN_IF_ERROR(ReadFully(client, 1, line));
  }
  line.resize(line.size() - 2);
  return line;
}

// A body that comes in chunks, as a whole: its size is not known beforehand.
absl::StatusOr<std::string> ReadChunked(ClientStream& client) {
  std::string body, ignored;
  while (true) {
    ASSIGN_OR_RETURN(const std::string line, ReadLine(client));
    std::uint64_t size = 0;
    if (!absl::SimpleHexAtoi(line.substr(0, line.find(';')), &size)) return absl::InvalidArgumentError("malformed chunk");
    if (size > kMaxChunkedBody - body.size()) return absl::ResourceExhaustedError("the request's body is too large");
    if (size == 0) break;
    RETURN_IF_ERROR(ReadFully(client, size, body));
    RETURN_IF_ERROR(ReadFully(client, 2, ignored));
  }
  for (std::string trailer = "-"; !trailer.empty();) {
    ASSIGN_OR_RETURN(trailer, ReadLine(client));
  }
  return body;
}

// What an answer is known as when it begins.
ProxyRecord RecordOf(const RequestHead& request, const std::string& url, const registry::HttpResponse& response) {
  ProxyRecord record{request.method, ShownUrl(url), response.status, "", "", kUnfinished};
  if (request.method != "GET") {
    record.gap = "method_not_materializable";
  } else if (!request.Header("Range").empty() || response.status == 206) {
    record.gap = "partial_response";
  }
  if (const std::string location = response.Header("Location"); !location.empty()) {
    const absl::StatusOr<std::string> target = registry::ResolveUrl(url, location);
    record.redirect = ShownUrl(target.ok() ? *target : location);
  }
  return record;
}

registry::HttpHeaders ForwardedHeaders(const RequestHead& head) {
  registry::HttpHeaders headers;
  for (const auto& [name, value] : head.headers) {
    const bool ours = IsHopHeader(name) || absl::EqualsIgnoreCase(name, "Host") || absl::EqualsIgnoreCase(name, "Content-Length") ||
                      absl::EqualsIgnoreCase(name, "Accept-Encoding") || absl::EqualsIgnoreCase(name, "Expect");
    if (!ours) headers.emplace_back(name, value);
  }
  return headers;
}

// Makes the request's body that of `request`: read as it is sent, or kept in `body`.
absl::Status TakeBody(ClientStream& client, const RequestHead& head, std::string& body, registry::HttpRequest& request) {
  if (absl::EqualsIgnoreCase(head.Header("Expect"), "100-continue")) RETURN_IF_ERROR(client.Write("HTTP/1.1 100 Continue\r\n\r\n"));
  if (absl::EqualsIgnoreCase(head.Header("Transfer-Encoding"), "chunked")) {
    ASSIGN_OR_RETURN(body, ReadChunked(client));
    registry::SetBody(request, body);
    return absl::OkStatus();
  }
  const std::string length = head.Header("Content-Length");
  if (length.empty()) return absl::OkStatus();
  if (!absl::SimpleAtoi(length, &request.body_size) || request.body_size < 0) return absl::InvalidArgumentError("malformed Content-Length");
  request.body = [&client, next = std::int64_t{0}](std::int64_t offset, char* out, std::size_t room) mutable -> absl::StatusOr<std::size_t> {
    if (offset != next) return absl::UnavailableError("a request cannot be sent again");
    ASSIGN_OR_RETURN(const std::size_t got, client.Read(out, room));
    next += static_cast<std::int64_t>(got);
    return got;
  };
  return absl::OkStatus();
}

}  // namespace

// The answer to one request on its way to the client.
struct ExecProxy::Answer {
  ExecProxy& proxy;
  ClientStream& client;
  const RequestHead& request;
  const std::string& url;
  bool keep = true;
  bool chunked = false, begun = false;
  std::size_t record = 0;
  std::int64_t missing = -1;  // bytes of the body; -1: not known beforehand
  codec::Sha256 hash{};

  absl::Status Begin(const registry::HttpResponse& response) {
    begun = true;
    const bool bodiless = request.method == "HEAD" || response.status == 204 || response.status == 304;
    const bool decoded = !response.Header("Transfer-Encoding").empty();
    missing = bodiless ? 0 : decoded ? -1 : response.content_length();
    record = proxy.Record(RecordOf(request, url, response));
    if (missing == 0) Complete();
    std::string head = absl::StrCat("HTTP/1.1 ", response.status, " ", response.reason, "\r\n");
    for (const auto& [name, value] : response.headers) {
      if (IsHopHeader(name) || (decoded && absl::EqualsIgnoreCase(name, "Content-Length"))) continue;
      absl::StrAppend(&head, name, ": ", value, "\r\n");
    }
    chunked = missing < 0 && request.version == "HTTP/1.1";
    keep = keep && (missing >= 0 || chunked) && request.version == "HTTP/1.1" && !absl::EqualsIgnoreCase(request.Header("Connection"), "close");
    absl::StrAppend(&head, chunked ? "Transfer-Encoding: chunked\r\n" : "", keep ? "" : "Connection: close\r\n", "\r\n");
    return client.Write(head);
  }
  absl::Status Pass(absl::string_view bytes) {
    if (bytes.empty()) return absl::OkStatus();
    hash.Update(bytes);
    // Before the client has it all: its program may end then, and with it the proxy.
    if (missing > 0 && (missing -= static_cast<std::int64_t>(bytes.size())) <= 0) Complete();
    if (!chunked) return client.Write(bytes);
    RETURN_IF_ERROR(client.Write(absl::StrFormat("%x\r\n", bytes.size())));
    RETURN_IF_ERROR(client.Write(bytes));
    return client.Write("\r\n");
  }
  absl::Status End() {
    if (missing < 0) Complete();
    return chunked ? client.Write("0\r\n\r\n") : absl::OkStatus();
  }
  void Complete() { proxy.Complete(record, absl::StrCat("sha256:", hash.FinishHex())); }
};

ExecProxy::ExecProxy(Options options)
    : options_(std::move(options)),
      transport_(registry::HttpTransport::CreateOver(options_.open_socket)),
      workers_(std::make_unique<WorkerPool>("exec-proxy", kMaxConnections)) {}

absl::StatusOr<std::unique_ptr<ExecProxy>> ExecProxy::Start(Options options) {
  std::unique_ptr<ExecProxy> proxy(new ExecProxy(std::move(options)));
  RETURN_IF_ERROR(os::RunInNetworkNamespace(proxy->options_.listen_namespace, [&] { return proxy->Listen(); }));
  proxy->wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  if (!proxy->wake_.valid()) return ErrnoError("eventfd");
  proxy->acceptor_ = NewThread([self = proxy.get()] { self->AcceptLoop(); });
  return proxy;
}

absl::Status ExecProxy::Listen() {
  listener_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  struct sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<struct sockaddr*>(&address);
  if (!listener_.valid() || ::bind(listener_.get(), generic, size) != 0 || ::listen(listener_.get(), kBacklog) != 0 ||
      ::getsockname(listener_.get(), generic, &size) != 0) {
    return ErrnoError("listen for a step's requests");
  }
  port_ = ntohs(address.sin_port);
  return absl::OkStatus();
}

ExecProxy::~ExecProxy() {
  stop_.Cancel(absl::CancelledError("the step has ended"));
  std::uint64_t one = 1;
  if (wake_.valid()) (void)!::write(wake_.get(), &one, sizeof one);
  if (acceptor_.joinable()) acceptor_.join();
  {
    auto connections = connections_.Lock();
    for (const int fd : *connections) ::shutdown(fd, SHUT_RDWR);
  }
  workers_.reset();
}

std::vector<std::string> ExecProxy::env() const {
  const std::string url = absl::StrCat("http://127.0.0.1:", port_);
  std::vector<std::string> env;
  for (const char* name : {"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"}) env.push_back(absl::StrCat(name, "=", url));
  for (const char* name : {"NO_PROXY", "no_proxy"}) env.push_back(absl::StrCat(name, "=127.0.0.1,localhost,::1"));
  return env;
}

void ExecProxy::AcceptLoop() {
  while (true) {
    const bool own_room = connections_.Lock()->size() < kMaxConnections, room = AllConnections().HasRoom();
    // The end of one of our connections wakes us as well.
    struct pollfd events[2] = {{own_room && room ? listener_.get() : -1, POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    if (::poll(events, 2, room ? -1 : kRetryMs) < 0 && errno != EINTR) return;
    if (stop_.token().cancelled()) return;
    std::uint64_t ended;
    if (events[1].revents != 0) (void)!::read(wake_.get(), &ended, sizeof ended);
    if (events[0].revents == 0) continue;
    const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE) ::poll(&events[1], 1, kRetryMs);  // accepting again at once would spin
      continue;
    }
    AllConnections().Add(1);
    connections_.Lock()->insert(fd);
    workers_->Run([this, fd] { Serve(fd); });
  }
}

void ExecProxy::Serve(int fd) {
  {
    ClientStream client(fd);
    // What goes wrong with a connection is the client's to see.
    if (!stop_.token().cancelled()) (void)ServeRequests(client);
  }
  {
    auto connections = connections_.Lock();
    connections->erase(fd);
    ::close(fd);
  }
  AllConnections().Add(-1);
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

absl::Status ExecProxy::ServeRequests(ClientStream& client) {
  std::string tunnel;  // the authority of a CONNECT
  while (true) {
    ASSIGN_OR_RETURN(const std::string text, client.ReadHead());
    if (text.empty()) return absl::OkStatus();
    absl::StatusOr<RequestHead> head = ParseRequestHead(text);
    if (!head.ok()) return client.Write(PlainAnswer("400 Bad Request", head.status().message()));
    if (head->method == "CONNECT" && !client.inside_tls()) {
      tunnel = head->target;
      ASSIGN_OR_RETURN(const std::shared_ptr<SSL_CTX> context, options_.authority->ContextFor(HostOf(tunnel)));
      RETURN_IF_ERROR(client.Write("HTTP/1.1 200 Connection Established\r\n\r\n"));
      RETURN_IF_ERROR(client.StartTls(context));
      continue;
    }
    std::string url = head->target;
    if (client.inside_tls()) {
      url = absl::StrCat("https://", tunnel, head->target);
    } else if (absl::StartsWith(url, "/")) {
      url = absl::StrCat("http://", head->Header("Host"), head->target);
    }
    ASSIGN_OR_RETURN(const bool more, Forward(client, *head, url));
    if (!more) return absl::OkStatus();
  }
}

absl::StatusOr<bool> ExecProxy::Forward(ClientStream& client, const RequestHead& head, const std::string& url) {
  registry::HttpRequest request;
  request.url = url;
  if (options_.check) {
    const std::string shown = WithoutCredentials(url);
    absl::StatusOr<std::string> allowed = options_.check(head.method, shown);
    if (!allowed.ok()) {
      (void)client.Write(PlainAnswer("403 Forbidden", "Forbidden"));
      return false;
    }
    if (*allowed != shown) request.url = *std::move(allowed);
  }
  request.method = head.method;
  request.follow_redirects = false;
  request.any_status = true;
  request.cancel = stop_.token();
  request.headers = ForwardedHeaders(head);
  std::string body;
  RETURN_IF_ERROR(TakeBody(client, head, body, request));
  // The rest of a body that the server did not want would look like a request.
  Answer answer{*this, client, head, request.url, request.body_size <= 0 || !body.empty()};
  request.on_head = [&](const registry::HttpResponse& response) { return answer.Begin(response); };
  request.on_data = [&](absl::string_view bytes) { return answer.Pass(bytes); };
  const absl::StatusOr<registry::HttpResponse> response = transport_->Do(request);
  if (response.ok()) return answer.End().ok() && answer.keep;
  if (answer.begun) return false;
  Record({head.method, ShownUrl(request.url), 502, "", "", "upstream_error"});
  (void)client.Write(PlainAnswer("502 Bad Gateway", response.status().message()));
  return false;
}

std::size_t ExecProxy::Record(ProxyRecord record) {
  auto records = records_.Lock();
  records->push_back(std::move(record));
  return records->size() - 1;
}

void ExecProxy::Complete(std::size_t record, const std::string& digest) {
  auto records = records_.Lock();
  ProxyRecord& known = records->at(record);
  if (known.gap != kUnfinished) return;
  known.gap = known.status >= 400 ? "unsuccessful_response" : "";
  if (known.status >= 200 && known.status < 300) known.digest = digest;
}

}  // namespace cachalot::op
