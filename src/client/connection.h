// The way to a daemon: one that listens, or the same services by the engine of a state directory.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::client {

struct ConnectOptions {
  std::string address;  // unix:// or tcp://; empty: $BUILDKIT_HOST, the default socket if a daemon listens there, else the root's engine
  std::string root;     // state directory; empty: $CACHALOT_ROOT or the default
  std::string tls_ca, tls_cert, tls_key, tls_server_name;  // for tcp://
  int stop_fd = -1;                                        // readable when the user wants no connection any more
};

class Connection {
 public:
  virtual ~Connection() = default;  // waits for the end of an engine that nobody else uses
  virtual std::shared_ptr<grpc::Channel> channel() = 0;
};

// Call before any other thread starts: an engine is forked off.
absl::StatusOr<std::unique_ptr<Connection>> Connect(const ConnectOptions& options);

}  // namespace cachalot::client
