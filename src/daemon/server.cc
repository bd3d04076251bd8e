#include "daemon/server.h"

#include <fcntl.h>
#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_posix.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <mutex>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/worker_pool.h"
#include "daemon/acceptor.h"
#include "daemon/address.h"
#include "daemon/content_service.h"
#include "daemon/control_service.h"
#include "daemon/gateway_service.h"
#include "daemon/trace_service.h"

namespace cachalot::daemon {

namespace {

constexpr int kMaxMessageBytes = 16 << 20;            // what clients set as well
constexpr int kMaxMetadataBytes = 16 << 20;           // error details hold whole source files
constexpr int kMaxCalls = 4096;                       // threads: calls wait for each other, so that none may be queued behind them
constexpr std::chrono::milliseconds kPatience(1500);  // for calls to end by themselves on shutdown

absl::StatusOr<std::string> ReadPem(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) {
    return absl::NotFoundError(absl::StrCat("reading ", path, " failed"));
  }
  return text.str();
}

// Null without TLS.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> TlsCredentials(const ServerOptions& options) {
  if (options.tls_cert.empty() && options.tls_key.empty()) {
    return nullptr;
  }
  if (options.tls_cert.empty() || options.tls_key.empty()) {
    return absl::InvalidArgumentError("you must specify key and cert file if one is specified");
  }
  grpc::SslServerCredentialsOptions ssl;
  grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
  ASSIGN_OR_RETURN(pair.private_key, ReadPem(options.tls_key));
  ASSIGN_OR_RETURN(pair.cert_chain, ReadPem(options.tls_cert));
  ssl.pem_key_cert_pairs.push_back(std::move(pair));
  if (!options.tls_ca.empty()) {
    ASSIGN_OR_RETURN(ssl.pem_root_certs, ReadPem(options.tls_ca));
    ssl.client_certificate_request = GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  }
  return grpc::SslServerCredentials(ssl);
}

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Clients may ping as often as they like, with or without calls.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
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
        trace_(traces_) {}
  ~GrpcServer() override { Shutdown(); }

  absl::Status Listen(const ServerOptions& options) {
    ASSIGN_OR_RETURN(const auto tls, TlsCredentials(options));
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    SetLimits(builder);
    builder.RegisterService(&control_);
    builder.RegisterService(&gateway_);
    builder.RegisterService(&content_);
    builder.RegisterService(&trace_);
    std::vector<UniqueFd> listeners;
    std::vector<std::pair<std::string, int>> ports;  // what gRPC itself listens on; the port is filled in at the start
    ports.reserve(options.addresses.size());
    for (const std::string& text : options.addresses) {
      ASSIGN_OR_RETURN(const Address address, ParseAddress(text));
      if (address.kind == Address::Kind::kTcp) {
        ports.emplace_back(address.rest, 0);
        builder.AddListeningPort(address.rest, tls != nullptr ? tls : grpc::InsecureServerCredentials(), &ports.back().second);
      } else {
        ASSIGN_OR_RETURN(UniqueFd listener, Open(address, options.socket_gid));
        listeners.push_back(std::move(listener));
        if (address.kind == Address::Kind::kUnix) socket_paths_.push_back(address.rest);
      }
      if (tls != nullptr && address.kind != Address::Kind::kTcp) {
        LogWarning("TLS is disabled for ", text);
      } else if (tls == nullptr && address.kind == Address::Kind::kTcp) {
        LogWarning("TLS is not enabled for ", text, ". enabling mutual TLS authentication is highly recommended");
      }
    }
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) {
      return absl::UnavailableError(absl::StrCat("listening on ", ports.empty() ? "no port" : ports.front().first, " failed"));
    }
    for (const auto& [address, port] : ports) {
      if (port == 0) return absl::UnavailableError(absl::StrCat("listening on tcp://", address, " failed"));
    }
    acceptor_.emplace(std::move(listeners), [this](UniqueFd connection) { Serve(std::move(connection)); });
    for (const std::string& address : options.addresses) {
      LogInfo("running server on ", address);
    }
    return absl::OkStatus();
  }

  void Serve(UniqueFd connection) override {
    fcntl(connection.get(), F_SETFL, fcntl(connection.get(), F_GETFL) | O_NONBLOCK);
    grpc::AddInsecureChannelFromFd(server_.get(), connection.release());
  }

  void Shutdown() override {
    std::call_once(shut_down_, [this] {
      for (const std::string& path : socket_paths_) unlink(path.c_str());
      acceptor_.reset();
      stop_.Cancel(absl::UnavailableError("the daemon is stopping"));
      if (server_ != nullptr) {
        server_->Shutdown(std::chrono::system_clock::now() + kPatience);
        server_->Wait();
      }
    });
  }

 private:
  static absl::StatusOr<UniqueFd> Open(const Address& address, int gid) {
    return address.kind == Address::Kind::kUnix ? ListenUnix(address.rest, gid) : InheritedListener(address.rest);
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
  std::unique_ptr<grpc::Server> server_;
  std::optional<Acceptor> acceptor_;
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
