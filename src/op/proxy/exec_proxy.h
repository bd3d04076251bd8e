// The only way out of a step whose network is proxied: an HTTP proxy on the loopback of the step's own network namespace. It looks into
// TLS, too, with certificates of our own making, so that every request can be judged and shown.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/guarded.h"
#include "base/unique_fd.h"
#include "base/worker_pool.h"
#include "op/proxy/authority.h"
#include "op/proxy/client_stream.h"
#include "op/proxy/proxy_use.h"
#include "registry/http.h"

namespace cachalot::op {

class ExecProxy {
 public:
  struct Options {
    ProxyAuthority* authority = nullptr;  // outlives the proxy
    std::string listen_namespace;         // the path of the step's network namespace
    registry::HttpTransport::OpenSocket open_socket;
    ProxyCheck check;  // or null; what it refuses is answered with 403 and not recorded
  };
  static absl::StatusOr<std::unique_ptr<ExecProxy>> Start(Options options);
  // Ends all connections.
  ~ExecProxy();
  ExecProxy(const ExecProxy&) = delete;

  // The variables that send programs here.
  std::vector<std::string> env() const;
  // In the order of the answers.
  std::vector<ProxyRecord> records() { return *records_.Lock(); }

 private:
  struct Answer;
  explicit ExecProxy(Options options);
  absl::Status Listen();
  void AcceptLoop();
  void Serve(int fd);
  absl::Status ServeRequests(ClientStream& client);
  absl::StatusOr<bool> Forward(ClientStream& client, const RequestHead& head, const std::string& url);
  std::size_t Record(ProxyRecord record);
  void Complete(std::size_t record, const std::string& digest);

  const Options options_;
  const std::unique_ptr<registry::HttpTransport> transport_;
  CancelSource stop_;
  UniqueFd listener_, wake_;
  int port_ = 0;
  Guarded<std::vector<ProxyRecord>> records_;
  Guarded<std::set<int>> connections_;
  std::thread acceptor_;
  std::unique_ptr<WorkerPool> workers_;
};

}  // namespace cachalot::op
