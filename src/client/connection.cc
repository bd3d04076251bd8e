#include "client/connection.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "client/engine_process.h"
#include "client/tls_reason.h"
#include "daemon/address.h"
#include "daemon/config.h"

namespace cachalot::client {

namespace {

constexpr int kMaxMessageBytes = 16 << 20;
constexpr int kMaxMetadataBytes = 16 << 20;  // error details hold whole source files
constexpr std::chrono::seconds kConnectPatience(20);

class RemoteConnection final : public Connection {
 public:
  explicit RemoteConnection(std::shared_ptr<grpc::Channel> channel) : channel_(std::move(channel)) {}
  std::shared_ptr<grpc::Channel> channel() override { return channel_; }

 private:
  std::shared_ptr<grpc::Channel> channel_;
};

class EngineConnection final : public Connection {
 public:
  EngineConnection(std::unique_ptr<EngineProcess> process, std::shared_ptr<grpc::Channel> channel)
      : process_(std::move(process)), channel_(std::move(channel)) {}
  std::shared_ptr<grpc::Channel> channel() override { return channel_; }

 private:
  std::unique_ptr<EngineProcess> process_;  // goes after the channel
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

absl::StatusOr<std::unique_ptr<Connection>> ConnectToEngine(const std::string& root, int stop_fd) {
  if (geteuid() != 0) {
    return absl::PermissionDeniedError("an engine without a daemon needs root; other users name a daemon with --addr or BUILDKIT_HOST");
  }
  daemon::Settings settings;
  settings.root = root;
  RETURN_IF_ERROR(daemon::LoadConfig(daemon::kDefaultConfigFile, settings));
  if (!root.empty()) settings.root = std::filesystem::absolute(root);
  // Whoever runs the engine as himself and allows something has allowed it on both sides; nobody else can join it.
  settings.entitlements = {"network.host", "security.insecure"};
  RETURN_IF_ERROR(daemon::FinishSettings(daemon::kDefaultRoot, daemon::kDefaultAddress, settings));
  ASSIGN_OR_RETURN(std::unique_ptr<EngineProcess> process, EngineProcess::Find(settings.engine, stop_fd));
  UniqueFd connection = process->TakeConnection();
  return std::make_unique<EngineConnection>(std::move(process), ChannelOver(std::move(connection)));
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
  return ConnectToEngine(root, options.stop_fd);
}

}  // namespace cachalot::client
