// A small HTTP/1.1 server on the loopback for tests: every request goes to one handler.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/guarded.h"

namespace cachalot::registry {

struct FakeRequest {
  std::string method, target, body;            // target: path with query
  std::map<std::string, std::string> headers;  // names in lower case
};

struct FakeReply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers{};
  std::string body{};
  long cut_after = -1;  // the connection breaks after that many bytes of the body; 0: before the response
  bool hang = false;    // no answer until either side goes
};

class FakeServer {
 public:
  explicit FakeServer(std::function<FakeReply(const FakeRequest&)> handler) : handler_(std::move(handler)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 64) != 0) abort();
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~FakeServer() {
    stopping_ = true;
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    close(listener_);
    OnConnections([](int fd) { shutdown(fd, SHUT_RDWR); });
    for (std::thread& thread : threads_) thread.join();
    OnConnections([](int fd) { close(fd); });
  }
  FakeServer(const FakeServer&) = delete;

  std::string authority() const { return absl::StrCat("127.0.0.1:", port_); }
  std::string url() const { return absl::StrCat("http://", authority()); }
  // "METHOD target" of all requests so far.
  std::vector<std::string> log() { return *log_.Lock(); }

 private:
  void OnConnections(const std::function<void(int fd)>& act) {
    auto connections = connections_.Lock();
    for (const int fd : *connections) act(fd);
  }

  void Accept() {
    while (!stopping_) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      connections_.Lock()->push_back(fd);
      threads_.emplace_back([this, fd] { Serve(fd); });
    }
  }

  void Serve(int fd) {
    std::string buffer;
    FakeRequest request;
    while (ReadRequest(fd, buffer, request)) {
      log_.Lock()->push_back(absl::StrCat(request.method, " ", request.target));
      if (!WriteReply(fd, request, handler_(request))) break;
    }
    shutdown(fd, SHUT_RDWR);
  }

  static bool Fill(int fd, std::string& buffer) {
    char chunk[65536];
    const ssize_t got = recv(fd, chunk, sizeof chunk, 0);
    if (got <= 0) return false;
    buffer.append(chunk, static_cast<std::size_t>(got));
    return true;
  }

  static bool ReadRequest(int fd, std::string& buffer, FakeRequest& request) {
    request = FakeRequest{};
    std::size_t end = 0;
    while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
      if (!Fill(fd, buffer)) return false;
      if (!absl::ascii_isupper(buffer[0])) {  // a TLS client: say in plain words that this is HTTP, as real servers do
        static constexpr absl::string_view kAnswer = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n";
        (void)send(fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL);
        return false;
      }
    }
    const std::vector<std::string> lines = absl::StrSplit(buffer.substr(0, end), "\r\n");
    buffer.erase(0, end + 4);
    const std::vector<std::string> words = absl::StrSplit(lines[0], ' ');
    request.method = words[0];
    request.target = words[1];
    for (std::size_t i = 1; i < lines.size(); ++i) {
      const std::size_t colon = lines[i].find(':');
      request.headers[absl::AsciiStrToLower(lines[i].substr(0, colon))] = std::string(absl::StripAsciiWhitespace(lines[i].substr(colon + 1)));
    }
    const std::size_t length = request.headers.count("content-length") > 0 ? std::stoul(request.headers["content-length"]) : 0;
    while (buffer.size() < length) {
      if (!Fill(fd, buffer)) return false;
    }
    request.body = buffer.substr(0, length);
    buffer.erase(0, length);
    return true;
  }

  bool WriteReply(int fd, const FakeRequest& request, const FakeReply& reply) {
    if (reply.hang) {
      char byte;
      (void)recv(fd, &byte, 1, 0);  // until either side closes
      return false;
    }
    if (reply.cut_after == 0) return false;
    std::string text = absl::StrCat("HTTP/1.1 ", reply.status, " Reason\r\n");
    bool sized = false;
    for (const auto& [name, value] : reply.headers) {
      absl::StrAppend(&text, name, ": ", value, "\r\n");
      sized = sized || absl::AsciiStrToLower(name) == "content-length";
    }
    if (!sized) absl::StrAppend(&text, "Content-Length: ", reply.body.size(), "\r\n");
    text += "\r\n";
    if (request.method != "HEAD") text += reply.cut_after > 0 ? reply.body.substr(0, static_cast<std::size_t>(reply.cut_after)) : reply.body;
    for (std::size_t sent = 0; sent < text.size();) {
      const ssize_t put = send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (put <= 0) return false;
      sent += static_cast<std::size_t>(put);
    }
    return reply.cut_after < 0;
  }

  std::function<FakeReply(const FakeRequest&)> handler_;
  std::atomic<bool> stopping_ = false;
  int listener_ = -1;
  int port_ = 0;
  std::thread acceptor_;
  std::list<std::thread> threads_;
  Guarded<std::vector<int>> connections_;
  Guarded<std::vector<std::string>> log_;
};

}  // namespace cachalot::registry
