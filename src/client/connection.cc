#include "client/connection.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "build/engine.h"
#include "client/tls_reason.h"
#include "daemon/address.h"
#include "daemon/config.h"
#include "daemon/server.h"
#include "os/mount.h"

namespace cachalot::client {

namespace {

constexpr int kMaxMessageBytes = 16 << 20;
constexpr int kMaxMetadataBytes = 16 << 20;  // error details hold whole source files
constexpr std::chrono::seconds kConnectPatience(20);

class RemoteConnection final : public Connection {
 public:
  explicit RemoteConnection(std::shared_ptr<grpc::Channel> channel) : channel_(std::move(channel)) {}
  std::shared_ptr<grpc::Channel> channel() override { return channel_; }
  bool embedded() const override { return false; }

 private:
  std::shared_ptr<grpc::Channel> channel_;
};

class EmbeddedConnection final : public Connection {
 public:
  absl::Status Start(const build::Config& config) {
    RETURN_IF_ERROR(os::EnterPrivateMountNamespace());
    ASSIGN_OR_RETURN(engine_, build::Engine::Open(config));
    ASSIGN_OR_RETURN(server_, daemon::Server::Start({}, *engine_));
    return absl::OkStatus();
  }
  ~EmbeddedConnection() override {
    channel_.reset();
    if (server_ != nullptr) {
      server_->Shutdown();
    }
  }
  void Use(std::shared_ptr<grpc::Channel> channel) { channel_ = std::move(channel); }
  daemon::Server& server() { return *server_; }
  std::shared_ptr<grpc::Channel> channel() override { return channel_; }
  bool embedded() const override { return true; }

 private:
  std::unique_ptr<build::Engine> engine_;
  std::unique_ptr<daemon::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  return arguments;
}

// A channel over a connected stream socket.
std::shared_ptr<grpc::Channel> ChannelOver(UniqueFd socket) {
  fcntl(socket.get(), F_SETFL, fcntl(socket.get(), F_GETFL) | O_NONBLOCK);
  return grpc::CreateCustomInsecureChannelFromFd("localhost", socket.release(), Arguments());
}

absl::StatusOr<std::string> ReadPem(const std::string& path) {
  if (path.empty()) {
    return std::string();
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return file ? absl::StatusOr<std::string>(text.str()) : absl::NotFoundError(absl::StrCat("reading ", path, " failed"));
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> DialTcp(const std::string& host_port, const ConnectOptions& options) {
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  grpc::ChannelArguments arguments = Arguments();
  if (!options.tls_ca.empty() || !options.tls_cert.empty()) {
    grpc::SslCredentialsOptions ssl;
    ASSIGN_OR_RETURN(ssl.pem_root_certs, ReadPem(options.tls_ca));
    ASSIGN_OR_RETURN(ssl.pem_cert_chain, ReadPem(options.tls_cert));
    ASSIGN_OR_RETURN(ssl.pem_private_key, ReadPem(options.tls_key));
    credentials = grpc::SslCredentials(ssl);
    if (!options.tls_server_name.empty()) arguments.SetSslTargetNameOverride(options.tls_server_name);
  }
  auto channel = grpc::CreateCustomChannel(host_port, credentials, arguments);
  const auto deadline = std::chrono::system_clock::now() + kConnectPatience;
  for (grpc_connectivity_state state = channel->GetState(true); state != GRPC_CHANNEL_READY; state = channel->GetState(true)) {
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE) RETURN_IF_ERROR(FindTlsReason(host_port, options));
    if (!channel->WaitForStateChange(state, deadline)) return absl::UnavailableError(absl::StrCat("no daemon answers at tcp://", host_port));
  }
  return channel;
}

absl::StatusOr<std::unique_ptr<Connection>> Dial(const std::string& text, const ConnectOptions& options) {
  ASSIGN_OR_RETURN(const daemon::Address address, daemon::ParseAddress(text));
  if (address.kind == daemon::Address::Kind::kTcp) {
    ASSIGN_OR_RETURN(auto channel, DialTcp(address.rest, options));
    return std::make_unique<RemoteConnection>(std::move(channel));
  }
  if (address.kind != daemon::Address::Kind::kUnix) {
    return absl::InvalidArgumentError(absl::StrCat("addr ", text, " not supported"));
  }
  auto socket = daemon::ConnectUnix(address.rest);
  if (!socket.ok()) {
    return Annotate(socket.status(), absl::StrCat("no daemon answers at ", text));
  }
  return std::make_unique<RemoteConnection>(ChannelOver(*std::move(socket)));
}

absl::StatusOr<std::unique_ptr<Connection>> Embed(const std::string& root) {
  if (geteuid() != 0) {
    return absl::PermissionDeniedError("an engine in this process needs root; other users name a daemon with --addr or BUILDKIT_HOST");
  }
  daemon::Settings settings;
  settings.root = root;
  RETURN_IF_ERROR(daemon::LoadConfig(daemon::kDefaultConfigFile, settings));
  if (!root.empty()) settings.root = root;
  // Whoever runs the engine in his own process and allows something has allowed it on both sides.
  settings.entitlements = {"network.host", "security.insecure"};
  RETURN_IF_ERROR(daemon::FinishSettings(daemon::kDefaultRoot, daemon::kDefaultAddress, settings));
  auto connection = std::make_unique<EmbeddedConnection>();
  RETURN_IF_ERROR(connection->Start(settings.engine));
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoError("socketpair");
  }
  connection->server().Serve(UniqueFd(ends[0]));
  connection->Use(ChannelOver(UniqueFd(ends[1])));
  return connection;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Connection>> Connect(const ConnectOptions& options) {
  const char* host = std::getenv("BUILDKIT_HOST");
  const std::string address = !options.address.empty() ? options.address : host != nullptr ? host : "";
  if (!address.empty()) {
    return Dial(address, options);
  }
  const char* root_variable = std::getenv("CACHALOT_ROOT");
  const std::string root = !options.root.empty() ? options.root : root_variable != nullptr ? root_variable : "";
  // Whoever names a state directory means an engine of his own.
  if (root.empty()) {
    if (auto listening = Dial(daemon::kDefaultAddress, options); listening.ok()) {
      return listening;
    }
  }
  return Embed(root);
}

}  // namespace cachalot::client
