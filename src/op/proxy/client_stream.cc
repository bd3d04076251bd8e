#include "op/proxy/client_stream.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::op {
namespace {

constexpr std::size_t kMaxHead = 256 << 10;
constexpr std::size_t kChunk = 16 << 10;

}  // namespace

std::string RequestHead::Header(absl::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (absl::EqualsIgnoreCase(key, name)) return value;
  }
  return "";
}

absl::StatusOr<RequestHead> ParseRequestHead(absl::string_view text) {
  std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  const std::vector<std::string> words = absl::StrSplit(absl::StripAsciiWhitespace(lines[0]), ' ');
  if (words.size() != 3 || words[0].empty() || !absl::StartsWith(words[2], "HTTP/1.")) return absl::InvalidArgumentError("malformed request");
  RequestHead head{words[0], words[1], words[2], {}};
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const absl::string_view line = absl::StripTrailingAsciiWhitespace(lines[i]);
    if (line.empty()) continue;
    const std::size_t colon = line.find(':');
    // A line that continues the one before, or names nothing, is how requests are smuggled.
    if (colon == 0 || colon == absl::string_view::npos || absl::ascii_isspace(static_cast<unsigned char>(line[0]))) {
      return absl::InvalidArgumentError("malformed header");
    }
    head.headers.emplace_back(std::string(line.substr(0, colon)), std::string(absl::StripAsciiWhitespace(line.substr(colon + 1))));
  }
  return head;
}

absl::Status ClientStream::StartTls(const std::shared_ptr<SSL_CTX>& context) {
  if (!ahead_.empty()) return absl::InvalidArgumentError("bytes before the answer to CONNECT");
  context_ = context;
  ssl_.reset(SSL_new(context.get()));
  if (ssl_ == nullptr || SSL_set_fd(ssl_.get(), fd_) != 1 || SSL_accept(ssl_.get()) != 1) return absl::UnavailableError("TLS handshake");
  return absl::OkStatus();
}

absl::StatusOr<std::size_t> ClientStream::ReadConnection(char* out, std::size_t room) {
  if (ssl_ != nullptr) return static_cast<std::size_t>(std::max(0, SSL_read(ssl_.get(), out, static_cast<int>(room))));
  ssize_t got = 0;
  do {
    got = ::recv(fd_, out, room, 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return ErrnoError("read from a client of the proxy");
  return static_cast<std::size_t>(got);
}

absl::StatusOr<std::string> ClientStream::ReadHead() {
  std::size_t end = std::string::npos;
  char chunk[kChunk];
  while ((end = ahead_.find("\r\n\r\n")) == std::string::npos) {
    if (ahead_.size() > kMaxHead) return absl::ResourceExhaustedError("the head of a request is too large");
    ASSIGN_OR_RETURN(const std::size_t got, ReadConnection(chunk, sizeof chunk));
    if (got == 0) return std::string();
    ahead_.append(chunk, got);
  }
  std::string head = ahead_.substr(0, end + 4);
  ahead_.erase(0, end + 4);
  return head;
}

absl::StatusOr<std::size_t> ClientStream::Read(char* out, std::size_t room) {
  if (ahead_.empty()) return ReadConnection(out, room);
  const std::size_t size = std::min(room, ahead_.size());
  std::memcpy(out, ahead_.data(), size);
  ahead_.erase(0, size);
  return size;
}

absl::Status ClientStream::Write(absl::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t written = 0;
    if (ssl_ != nullptr) {
      written = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(std::min<std::size_t>(bytes.size(), 1 << 20)));
      if (written <= 0) return absl::UnavailableError("write to a client of the proxy");
    } else {
      written = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return ErrnoError("write to a client of the proxy");
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace cachalot::op
