// The gRPC server: BuildKit's services over one engine, on any number of listeners.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "build/engine.h"
#include "daemon/history.h"
#include "daemon/leases.h"
#include "daemon/trace_collector.h"

namespace cachalot::daemon {

struct ServerOptions {
  std::vector<std::string> addresses;  // unix://, tcp://, fd://
  int socket_gid = -1;                 // group of unix sockets, -1: the process's
  // TLS for tcp:// addresses (PEM files); with a CA clients must show a certificate of it.
  std::string tls_cert, tls_key, tls_ca;
  HistoryLimits history;
  std::optional<CollectorSettings> collector;  // where traces go besides history
};

class Server {
 public:
  // `engine` outlives the server. On return every address accepts connections.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, build::Engine& engine);
  virtual ~Server() = default;  // Shutdown, if that was not called
  // Serves one more connection: a connected stream socket.
  virtual void Serve(UniqueFd connection) = 0;
  // Of clients that come by the engine's state directory. Until Shutdown.
  virtual Leases& leases() = 0;
  // Takes no more connections, cancels running calls, and waits for them.
  virtual void Shutdown() = 0;
};

}  // namespace cachalot::daemon
