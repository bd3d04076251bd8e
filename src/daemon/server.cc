#include "daemon/server.h"

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <unistd.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/worker_pool.h"
#include "daemon/acceptor.h"
#include "daemon/address.h"
#include "daemon/content_service.h"
#include "daemon/control_service.h"
#include "daemon/frontend_server.h"
#include "daemon/gateway_service.h"
#include "daemon/grpc_server.h"
#include "daemon/tls.h"
#include "daemon/trace_service.h"

namespace cachalot::daemon {

namespace {

constexpr int kMaxCalls = 4096;                       // threads: calls wait for each other, so that none may be queued behind them
constexpr std::chrono::milliseconds kPatience(1500);  // for calls to end by themselves on shutdown

// Null without TLS.
absl::StatusOr<std::unique_ptr<TlsTerminator>> MakeTls(const ServerOptions& options) {
  if (options.tls_cert.empty() && options.tls_key.empty()) {
    return nullptr;
  }
  if (options.tls_cert.empty() || options.tls_key.empty()) {
    return absl::InvalidArgumentError("you must specify key and cert file if one is specified");
  }
  return TlsTerminator::Create({options.tls_cert, options.tls_key, options.tls_ca});
}

class GrpcServer final : public Server {
 public:
  GrpcServer(build::Engine& engine, const ServerOptions& options)
      : pool_("rpc", kMaxCalls),
        calls_{&pool_, stop_.token()},
        collector_(options.collector.has_value() ? NewCollectorClient(*options.collector) : nullptr),
        traces_(Clock::System(), collector_.get()),
        history_(engine, traces_, Clock::System(), options.history),
        control_(engine, history_, calls_),
        gateway_(engine, calls_),
        content_(engine, calls_),
        trace_(traces_),
        engine_(engine),
        frontends_(engine, calls_) {
    engine.ServeFrontendsWith(&frontends_);
  }
  ~GrpcServer() override {
    Shutdown();
    engine_.ServeFrontendsWith(nullptr);
  }

  absl::Status Listen(const ServerOptions& options) {
    ASSIGN_OR_RETURN(tls_, MakeTls(options));
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    SetLimits(builder);
    builder.RegisterService(&control_);
    builder.RegisterService(&gateway_);
    builder.RegisterService(&content_);
    builder.RegisterService(&trace_);
    std::vector<Acceptor::Listener> listeners;
    for (const std::string& text : options.addresses) {
      ASSIGN_OR_RETURN(Acceptor::Listener listener, Open(text, options));
      listeners.push_back(std::move(listener));
    }
    ASSIGN_OR_RETURN(server_, StartServer(builder));
    acceptor_.emplace(std::move(listeners), [this](UniqueFd connection, const Acceptor::Listener& listener) {
      if (!listener.tls) return Serve(std::move(connection));
      tls_->Serve(std::move(connection), [this](UniqueFd plain) { Serve(std::move(plain)); });
    });
    leases_.emplace(engine_.TakeListener(), [this](UniqueFd connection) { Serve(std::move(connection)); });
    for (const std::string& address : options.addresses) {
      LogInfo("running server on ", address);
    }
    return absl::OkStatus();
  }

  Leases& leases() override { return *leases_; }

  void Serve(UniqueFd connection) override {
    if (absl::Status status = ServeConnection(*server_, std::move(connection)); !status.ok()) LogWarning(status.message());
  }

  void Shutdown() override {
    std::call_once(shut_down_, [this] {
      for (const std::string& path : socket_paths_) unlink(path.c_str());
      acceptor_.reset();
      leases_.reset();
      stop_.Cancel(absl::UnavailableError("the daemon is stopping"));
      if (server_ != nullptr) {
        server_->Shutdown(std::chrono::system_clock::now() + kPatience);
        server_->Wait();
      }
      tls_.reset();
    });
  }

 private:
  absl::StatusOr<Acceptor::Listener> Open(const std::string& text, const ServerOptions& options) {
    ASSIGN_OR_RETURN(const Address address, ParseAddress(text));
    Acceptor::Listener listener;
    if (address.kind == Address::Kind::kTcp) {
      ASSIGN_OR_RETURN(listener.socket, ListenTcp(address.rest));
      listener.tls = tls_ != nullptr;
      if (!listener.tls) LogWarning("TLS is not enabled for ", text, ". enabling mutual TLS authentication is highly recommended");
      return listener;
    }
    if (tls_ != nullptr) LogWarning("TLS is disabled for ", text);
    if (address.kind == Address::Kind::kFd) {
      ASSIGN_OR_RETURN(listener.socket, InheritedListener(address.rest));
      return listener;
    }
    ASSIGN_OR_RETURN(listener.socket, ListenUnix(address.rest, options.socket_gid));
    socket_paths_.push_back(address.rest);
    return listener;
  }

  CancelSource stop_;
  WorkerPool pool_;
  const CallContext calls_;
  const std::unique_ptr<trace::Exporter> collector_;
  trace::Recorder traces_;
  History history_;
  ControlService control_;
  GatewayService gateway_;
  ContentService content_;
  TraceService trace_;
  build::Engine& engine_;
  GrpcFrontendServer frontends_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<TlsTerminator> tls_;  // or null
  std::optional<Acceptor> acceptor_;
  std::optional<Leases> leases_;
  std::vector<std::string> socket_paths_;  // ours to remove
  std::once_flag shut_down_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, build::Engine& engine) {
  // One reference too many, for good: the last one's end would wait for a poller of gRPC's that may sleep for ten seconds.
  static const bool kept = (grpc_init(), true);
  static_cast<void>(kept);
  auto server = std::make_unique<GrpcServer>(engine, options);
  RETURN_IF_ERROR(server->Listen(options));
  return server;
}

}  // namespace cachalot::daemon
