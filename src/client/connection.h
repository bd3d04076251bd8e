// The way to a daemon: one that listens, or the same services over an engine in this process.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::client {

struct ConnectOptions {
  std::string address;  // unix:// or tcp://; empty: $BUILDKIT_HOST, the default socket if a daemon listens there, else embedded
  std::string root;     // of the embedded engine; empty: $CACHALOT_ROOT or the default
  std::string tls_ca, tls_cert, tls_key, tls_server_name;  // for tcp://
};

class Connection {
 public:
  virtual ~Connection() = default;  // stops an embedded engine
  virtual std::shared_ptr<grpc::Channel> channel() = 0;
  // Whether the engine runs in this process.
  virtual bool embedded() const = 0;
};

// Call before any other thread starts: an embedded engine moves the process into a mount namespace of its own.
absl::StatusOr<std::unique_ptr<Connection>> Connect(const ConnectOptions& options);

}  // namespace cachalot::client
