// A connection of a step's program to its proxy: plain at first, perhaps inside TLS later.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "registry/http.h"

namespace cachalot::op {

// The head of a request.
struct RequestHead {
  std::string method, target, version;  // "GET", "http://host/path" or "/path" or "host:443", "HTTP/1.1"
  registry::HttpHeaders headers;

  // The first header of that name (any case), or empty.
  std::string Header(absl::string_view name) const;
};

absl::StatusOr<RequestHead> ParseRequestHead(absl::string_view text);

// Not thread-safe. The descriptor stays its owner's, who ends reads and writes by shutdown(2).
class ClientStream {
 public:
  explicit ClientStream(int fd) : fd_(fd) {}

  // Goes on inside TLS, as the server.
  absl::Status StartTls(const std::shared_ptr<SSL_CTX>& context);
  bool inside_tls() const { return ssl_ != nullptr; }
  // The next request's head with its empty line; empty when the client has ended the connection.
  absl::StatusOr<std::string> ReadHead();
  // The bytes that follow; 0 at the end.
  absl::StatusOr<std::size_t> Read(char* out, std::size_t room);
  absl::Status Write(absl::string_view bytes);

 private:
  absl::StatusOr<std::size_t> ReadConnection(char* out, std::size_t room);

  const int fd_;
  std::shared_ptr<SSL_CTX> context_;
  std::unique_ptr<SSL, void (*)(SSL*)> ssl_{nullptr, SSL_free};
  std::string ahead_;  // read, but not asked for yet
};

}  // namespace cachalot::op
