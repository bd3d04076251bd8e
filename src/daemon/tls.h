// TLS for TCP clients, ended before gRPC sees the bytes: gRPC's own server refuses clients that negotiate no protocol (ALPN), as
// docker buildx does, while buildkitd takes them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace cachalot::daemon {

struct TlsFiles {
  std::string cert, key;  // PEM
  std::string ca;         // not empty: clients must show a certificate of this authority
};

// Thread-safe.
class TlsTerminator {
 public:
  // Reads the files; an error names the one that is wrong.
  static absl::StatusOr<std::unique_ptr<TlsTerminator>> Create(const TlsFiles& files);
  virtual ~TlsTerminator() = default;  // ends all connections
  // Takes a connected, non-blocking TCP socket. After a good handshake `on_plain` gets a non-blocking stream socket with the
  // connection's plain bytes, from a thread that then serves the connection until either end closes it. Others are closed.
  virtual void Serve(UniqueFd connection, std::function<void(UniqueFd)> on_plain) = 0;
};

}  // namespace cachalot::daemon
