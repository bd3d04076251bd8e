#include "daemon/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/log.h"
#include "base/status.h"
#include "base/worker_pool.h"

namespace cachalot::daemon {

namespace {

constexpr int kMaxConnections = 1024;
constexpr std::chrono::seconds kHandshakePatience(10);
constexpr std::size_t kBufferBytes = 64 << 10;

using ContextPtr = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
using SslPtr = std::unique_ptr<SSL, decltype(&SSL_free)>;

std::string LastError() {
  char text[256] = "unknown error";
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof(text));
  ERR_clear_error();
  return text;
}

absl::Status FileError(absl::string_view what, const std::string& path) {
  return absl::InvalidArgumentError(absl::StrCat("TLS ", what, " ", path, ": ", LastError()));
}

// Answers a client that offers protocols with HTTP/2; one that offers none goes without.
int SelectProtocol(SSL*, const unsigned char** selected, unsigned char* selected_size, const unsigned char* offered, unsigned int offered_size,
                   void*) {
  static constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, selected_size, kHttp2, sizeof(kHttp2), offered, offered_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *selected = found;
  return SSL_TLSEXT_ERR_OK;
}

// Bytes on their way in one direction.
class Buffer {
 public:
  bool empty() const { return begin_ == end_; }
  char* space() { return data_.data(); }
  std::size_t capacity() const { return data_.size(); }
  void Filled(std::size_t size) { begin_ = 0, end_ = size; }
  const char* data() const { return data_.data() + begin_; }
  std::size_t size() const { return end_ - begin_; }
  void Taken(std::size_t size) { begin_ += size; }

 private:
  std::vector<char> data_ = std::vector<char>(kBufferBytes);
  std::size_t begin_ = 0, end_ = 0;
};

// One connection, on the thread that runs it.
class Relay {
 public:
  Relay(SSL_CTX* context, UniqueFd connection, int stop) : connection_(std::move(connection)), stop_(stop), ssl_(SSL_new(context), SSL_free) {}

  bool Handshake() {
    if (ssl_ == nullptr || SSL_set_fd(ssl_.get(), connection_.get()) != 1) return false;
    const auto deadline = std::chrono::steady_clock::now() + kHandshakePatience;
    while (true) {
      const int result = SSL_accept(ssl_.get());
      if (result == 1) return true;
      tls_events_ = 0;
      if (!Continues(result)) {
        LogInfo("TLS handshake failed: ", LastError());
        return false;
      }
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
      if (left <= 0 || !Wait(static_cast<int>(left))) return false;
    }
  }

  // Moves bytes between the client and `plain` until one of them is done.
  void Run(UniqueFd plain) {
    plain_ = std::move(plain);
    while (true) {
      tls_events_ = plain_events_ = 0;
      if (!FromClient() || !ToServer() || !FromServer() || !ToClient()) break;
      if (!Wait(-1)) break;
    }
    SSL_shutdown(ssl_.get());
  }

 private:
  // Each step moves what it can and says what to wait for; false when the connection is over.
  bool FromClient() {
    if (!to_server_.empty()) return true;
    const int n = SSL_read(ssl_.get(), to_server_.space(), static_cast<int>(to_server_.capacity()));
    if (n <= 0) return Continues(n);
    to_server_.Filled(static_cast<std::size_t>(n));
    return true;
  }
  bool ToServer() {
    if (to_server_.empty()) return true;
    const ssize_t n = ::send(plain_.get(), to_server_.data(), to_server_.size(), MSG_NOSIGNAL);
    if (n > 0) to_server_.Taken(static_cast<std::size_t>(n));
    if (to_server_.empty()) again_ = true;  // OpenSSL may hold more that no poll tells of
    return PlainContinues(n, POLLOUT, !to_server_.empty());
  }
  bool FromServer() {
    if (!to_client_.empty()) return true;
    const ssize_t n = ::recv(plain_.get(), to_client_.space(), to_client_.capacity(), 0);
    if (n == 0) return false;
    if (n > 0) to_client_.Filled(static_cast<std::size_t>(n));
    return PlainContinues(n, POLLIN, n < 0);
  }
  bool ToClient() {
    if (to_client_.empty()) return true;
    const int n = SSL_write(ssl_.get(), to_client_.data(), static_cast<int>(to_client_.size()));
    if (n <= 0) return Continues(n);
    to_client_.Taken(static_cast<std::size_t>(n));
    again_ = true;
    return true;
  }

  // What an unfinished call of OpenSSL waits for.
  bool Continues(int result) {
    switch (SSL_get_error(ssl_.get(), result)) {
      case SSL_ERROR_WANT_READ: tls_events_ |= POLLIN; return true;
      case SSL_ERROR_WANT_WRITE: tls_events_ |= POLLOUT; return true;
      default: return false;
    }
  }
  bool PlainContinues(ssize_t result, short event, bool unfinished) {
    if (result < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (unfinished) plain_events_ |= event;
    return true;
  }

  bool Wait(int timeout_ms) {
    if (std::exchange(again_, false)) timeout_ms = 0;
    pollfd polled[3] = {
        {stop_, POLLIN, 0}, {tls_events_ != 0 ? connection_.get() : -1, tls_events_, 0}, {plain_events_ != 0 ? plain_.get() : -1, plain_events_, 0}};
    if (::poll(polled, 3, timeout_ms) < 0 && errno != EINTR) return false;
    return polled[0].revents == 0;
  }

  const UniqueFd connection_;
  UniqueFd plain_;
  const int stop_;
  const SslPtr ssl_;
  Buffer to_server_, to_client_;
  short tls_events_ = 0, plain_events_ = 0;
  bool again_ = false;
};

class OpenSslTerminator final : public TlsTerminator {
 public:
  OpenSslTerminator() : context_(SSL_CTX_new(TLS_server_method()), SSL_CTX_free), stop_(eventfd(0, EFD_CLOEXEC)) {}
  ~OpenSslTerminator() override {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(stop_.get(), &one, sizeof(one));
  }

  absl::Status Init(const TlsFiles& files) {
    if (context_ == nullptr || !stop_.valid()) return absl::InternalError(absl::StrCat("TLS: ", LastError()));
    SSL_CTX* const context = context_.get();
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(context, SelectProtocol, nullptr);
    if (SSL_CTX_use_certificate_chain_file(context, files.cert.c_str()) != 1) return FileError("certificate", files.cert);
    if (SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) != 1) return FileError("key", files.key);
    if (SSL_CTX_check_private_key(context) != 1) return FileError("key", files.key);
    if (files.ca.empty()) return absl::OkStatus();
    if (SSL_CTX_load_verify_locations(context, files.ca.c_str(), nullptr) != 1) return FileError("authority", files.ca);
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(files.ca.c_str()));
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    // Resumed sessions would need a context id; connections are few and long.
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    return absl::OkStatus();
  }

  void Serve(UniqueFd connection, std::function<void(UniqueFd)> on_plain) override {
    auto shared = std::make_shared<UniqueFd>(std::move(connection));  // std::function copies
    pool_.Run([this, shared, on_plain = std::move(on_plain)] { RunConnection(std::move(*shared), on_plain); });
  }

 private:
  void RunConnection(UniqueFd connection, const std::function<void(UniqueFd)>& on_plain) const {
    // OpenSSL writes without MSG_NOSIGNAL.
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    Relay relay(context_.get(), std::move(connection), stop_.get());
    if (!relay.Handshake()) return;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
      LogWarning(ErrnoError("socketpair").message());
      return;
    }
    UniqueFd ours(ends[0]);
    on_plain(UniqueFd(ends[1]));
    relay.Run(std::move(ours));
  }

  const ContextPtr context_;
  const UniqueFd stop_;
  WorkerPool pool_{"tls", kMaxConnections};  // last: its threads use the rest until they have ended
};

}  // namespace

absl::StatusOr<std::unique_ptr<TlsTerminator>> TlsTerminator::Create(const TlsFiles& files) {
  auto terminator = std::make_unique<OpenSslTerminator>();
  if (absl::Status status = terminator->Init(files); !status.ok()) return status;
  return terminator;
}

}  // namespace cachalot::daemon
