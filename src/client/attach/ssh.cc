#include "client/attach/ssh.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "buildkit/ssh.pb.h"
#include "session/ssh_socket.h"

namespace cachalot::client {
namespace {

namespace wire = moby::sshforward::v1;

// The agent protocol (draft-miller-ssh-agent): messages are a length in four bytes, big endian, a type, and content; every
// request has one answer, in order.
constexpr std::size_t kMaxAgentMessage = 256 << 10;
constexpr unsigned char kAgentFailure = 5;
constexpr unsigned char kRequestIdentities = 11;
constexpr unsigned char kSignRequest = 13;

absl::StatusOr<UniqueFd> Connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("path of the ssh agent's socket is too long: ", path));
  }
  path.copy(address.sun_path, path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid() || connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoError(absl::StrCat("failed to connect to ", path));
  }
  return fd;
}

std::size_t LengthOf(absl::string_view prefix) {
  std::size_t length = 0;
  for (int i = 0; i < 4; ++i) {
    length = length << 8 | static_cast<unsigned char>(prefix[i]);
  }
  return length;
}

absl::Status ReceiveExactly(int fd, std::size_t size, std::string& out) {
  const std::size_t begin = out.size();
  out.resize(begin + size);
  for (std::size_t at = begin; at < out.size();) {
    const ssize_t got = recv(fd, out.data() + at, out.size() - at, 0);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return got == 0 ? absl::UnavailableError("the ssh agent closed the connection") : ErrnoError("read from the ssh agent");
    }
    at += static_cast<std::size_t>(got);
  }
  return absl::OkStatus();
}

// Passes requests to the agent one by one, except those that would change or lock it.
class GuardedAgent {
 public:
  GuardedAgent(int fd, session::RpcStream& stream) : fd_(fd), stream_(stream) {}

  absl::Status Run() {
    wire::BytesMessage message;
    for (;;) {
      while (pending_.size() < 4 || pending_.size() < 4 + LengthOf(pending_)) {
        if (pending_.size() >= 4 && LengthOf(pending_) > kMaxAgentMessage) {
          return absl::ResourceExhaustedError(absl::StrCat("ssh agent request of ", LengthOf(pending_), " bytes"));
        }
        ASSIGN_OR_RETURN(const bool more, session::ReadMessage(stream_, message));
        if (!more) {
          return absl::OkStatus();
        }
        pending_ += message.data();
      }
      const std::size_t size = 4 + LengthOf(pending_);
      ASSIGN_OR_RETURN(const std::string answer, Answer(absl::string_view(pending_).substr(0, size)));
      pending_.erase(0, size);
      message.set_data(answer);
      RETURN_IF_ERROR(session::WriteMessage(stream_, message));
    }
  }

 private:
  absl::StatusOr<std::string> Answer(absl::string_view request) {
    const unsigned char type = request.size() > 4 ? static_cast<unsigned char>(request[4]) : 0;
    if (type != kRequestIdentities && type != kSignRequest) {
      return std::string({0, 0, 0, 1, kAgentFailure});
    }
    if (!session::SendAll(fd_, request)) {
      return ErrnoError("write to the ssh agent");
    }
    std::string answer;
    RETURN_IF_ERROR(ReceiveExactly(fd_, 4, answer));
    const std::size_t size = LengthOf(answer);
    if (size > kMaxAgentMessage) {
      return absl::ResourceExhaustedError(absl::StrCat("ssh agent answer of ", size, " bytes"));
    }
    RETURN_IF_ERROR(ReceiveExactly(fd_, size, answer));
    return answer;
  }

  const int fd_;
  session::RpcStream& stream_;
  std::string pending_;
};

}  // namespace

absl::StatusOr<SshAgents::Agent> SshAgents::Open(const SshAgent& wanted) {
  std::vector<std::string> paths = wanted.paths;
  if (paths.empty()) {
    const char* socket = std::getenv("SSH_AUTH_SOCK");
    if (socket == nullptr || *socket == '\0') {
      return absl::InvalidArgumentError("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set");
    }
    paths.emplace_back(socket);
  }
  Agent agent;
  agent.raw = wanted.raw;
  std::vector<std::string> key_files;
  for (const std::string& path : paths) {
    struct stat st {};
    if (stat(path.c_str(), &st) != 0) return ErrnoError(path);
    if (!S_ISSOCK(st.st_mode)) {
      key_files.push_back(path);
    } else if (paths.size() > 1) {
      return absl::InvalidArgumentError("only single socket allowed");
    } else {
      agent.socket = path;
    }
  }
  if (!key_files.empty()) {
    if (agent.raw) return absl::InvalidArgumentError("raw mode only supported with socket paths");
    ASSIGN_OR_RETURN(agent.keys, KeyAgent::Start(key_files));
    agent.socket = agent.keys->socket();
  }
  return agent;
}

absl::StatusOr<std::unique_ptr<SshAgents>> SshAgents::Create(const std::vector<SshAgent>& agents) {
  auto result = std::make_unique<SshAgents>();
  for (const SshAgent& wanted : agents) {
    const std::string id = wanted.id.empty() ? "default" : wanted.id;
    if (result->agents_.contains(id)) {
      return absl::InvalidArgumentError(absl::StrCat("duplicate agent ID \"", id, "\""));
    }
    absl::StatusOr<Agent> agent = Open(wanted);
    if (!agent.ok()) return Annotate(agent.status(), absl::StrCat("ssh agent ", id));
    result->agents_.emplace(id, *std::move(agent));
  }
  return result;
}

absl::StatusOr<const SshAgents::Agent*> SshAgents::Find(const std::string& id) const {
  const std::string name = id.empty() ? "default" : id;
  const auto found = agents_.find(name);
  if (found == agents_.end()) {
    return absl::UnknownError(absl::StrCat("unset ssh forward key ", name));
  }
  return &found->second;
}

absl::Status SshAgents::Forward(session::RpcStream& stream) {
  const std::string id = session::FindMetadata(stream.metadata(), "buildkit.ssh.id").value_or("");
  ASSIGN_OR_RETURN(const Agent* agent, Find(id));
  auto fd = Connect(agent->socket);
  RETURN_IF_ERROR(Annotate(fd.status(), absl::StrCat("failed to dial agent ", id)));
  return agent->raw ? session::CopySshStream(fd->get(), stream, /*calling_end=*/false) : GuardedAgent(fd->get(), stream).Run();
}

void SshAgents::AddHandlers(session::RpcHandlers& handlers) {
  if (agents_.empty()) {
    return;
  }
  handlers["/moby.sshforward.v1.SSH/CheckAgent"] = session::UnaryHandler<wire::CheckAgentRequest, wire::CheckAgentResponse>(
      [this](const wire::CheckAgentRequest& request, wire::CheckAgentResponse*) { return Find(request.id()).status(); });
  handlers["/moby.sshforward.v1.SSH/ForwardAgent"] = [this](session::RpcStream& stream) { return Forward(stream); };
}

}  // namespace cachalot::client
