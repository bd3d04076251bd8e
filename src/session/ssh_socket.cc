#include "session/ssh_socket.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <thread>

#include "base/guarded.h"
#include "base/log.h"
#include "base/status.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "base/worker_pool.h"
#include "buildkit/ssh.pb.h"
#include "session/rpc/call.h"

namespace cachalot::session {
namespace {

using moby::sshforward::v1::BytesMessage;

constexpr int kMaxConnections = 256;  // of one step; more are closed at once
constexpr int kBacklog = 64;

// From the call into the socket, until the other end writes no more.
absl::Status CopyIn(int fd, RpcStream& stream) {
  BytesMessage message;
  for (;;) {
    const auto more = ReadMessage(stream, message);
    if (!more.ok() || !*more) {
      shutdown(fd, more.ok() ? SHUT_WR : SHUT_RDWR);
      return more.status();
    }
    if (!SendAll(fd, message.data())) {
      return ErrnoError("write to the agent's socket");
    }
  }
}

// From the socket into the call, until end of file.
absl::Status CopyOut(int fd, RpcStream& stream) {
  BytesMessage message;
  char buffer[32 << 10];
  for (;;) {
    const ssize_t size = recv(fd, buffer, sizeof(buffer), 0);
    if (size < 0 && errno == EINTR) {
      continue;
    }
    if (size <= 0) {
      return size == 0 ? absl::OkStatus() : ErrnoError("read from the agent's socket");
    }
    message.set_data(buffer, static_cast<std::size_t>(size));
    RETURN_IF_ERROR(WriteMessage(stream, message));
  }
}

class ForwardingSocket : public Session::SshSocket {
 public:
  ForwardingSocket(std::shared_ptr<RpcConnection> connection, std::string id)
      : connection_(std::move(connection)), id_(id.empty() ? "default" : std::move(id)), pool_("session-ssh", kMaxConnections) {}

  ~ForwardingSocket() override {
    quit_.Cancel();
    if (accepting_.joinable()) {
      const std::uint64_t one = 1;
      (void)!write(wake_.get(), &one, sizeof(one));
      accepting_.join();
    }
    {
      auto connections = connections_.Lock();
      for (const int fd : *connections) {
        shutdown(fd, SHUT_RDWR);
      }
    }
    if (!path_.empty()) {
      unlink(path_.c_str());
    }
    if (!directory_.empty()) {
      rmdir(directory_.c_str());
    }
  }

  absl::Status Open(std::uint32_t uid, std::uint32_t gid, std::uint32_t mode) {
    const char* temporary = std::getenv("TMPDIR");
    std::string name = absl::StrCat(temporary != nullptr && *temporary != '\0' ? temporary : "/tmp", "/.cachalot-ssh-XXXXXX");
    if (mkdtemp(name.data()) == nullptr) {
      return ErrnoError(absl::StrCat("create the directory ", name));
    }
    directory_ = name;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = directory_ + "/ssh_auth_sock";
    if (path.size() >= sizeof(address.sun_path)) {
      return absl::InvalidArgumentError(absl::StrCat("path of the ssh socket is too long: ", path));
    }
    path.copy(address.sun_path, path.size());
    listener_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    wake_.reset(eventfd(0, EFD_CLOEXEC));
    if (!listener_.valid() || !wake_.valid() || bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      return ErrnoError(absl::StrCat("bind ", path));
    }
    path_ = path;
    if (chown(path_.c_str(), uid, gid) != 0 || chmod(path_.c_str(), mode) != 0 || listen(listener_.get(), kBacklog) != 0) {
      return ErrnoError(absl::StrCat("listen on ", path));
    }
    accepting_ = NewThread([this] { Accept(); });
    return absl::OkStatus();
  }

  const std::string& path() const override { return path_; }

 private:
  void Accept() {
    for (;;) {
      pollfd fds[] = {{listener_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
      if (poll(fds, 2, -1) < 0 && errno != EINTR) {
        return;
      }
      if (fds[1].revents != 0) {
        return;
      }
      auto fd = std::make_shared<UniqueFd>(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd->valid()) continue;
      {
        auto connections = connections_.Lock();
        if (connections->size() >= kMaxConnections) {
          LogWarning("a step has ", kMaxConnections, " connections to the ssh agent \"", id_, "\" open; another one is refused");
          continue;
        }
        connections->insert(fd->get());
      }
      pool_.Run([this, fd] {
        Forward(fd->get());
        auto connections = connections_.Lock();
        connections->erase(fd->get());
        fd->reset();
      });
    }
  }

  void Forward(int fd) {
    auto call = RpcCall::Start(*connection_, "/moby.sshforward.v1.SSH/ForwardAgent", {{"buildkit.ssh.id", id_}}, quit_.token());
    if (call.ok()) {
      CopySshStream(fd, **call, /*calling_end=*/true).IgnoreError();  // errors end this one connection
    }
  }

  const std::shared_ptr<RpcConnection> connection_;
  const std::string id_;
  std::string directory_, path_;
  UniqueFd listener_, wake_;
  CancelSource quit_;
  Guarded<std::set<int>> connections_;
  std::thread accepting_;
  WorkerPool pool_;  // last: joined first
};

}  // namespace

bool SendAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) {
      continue;
    }
    if (sent <= 0) {
      return false;
    }
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

absl::Status CopySshStream(int fd, RpcStream& stream, bool calling_end) {
  absl::Status out_status;
  std::thread out = NewThread([&] {
    out_status = CopyOut(fd, stream);
    if (calling_end) {
      stream.CloseWrite();
    }
  });
  const absl::Status in_status = CopyIn(fd, stream);
  if (!in_status.ok()) {
    shutdown(fd, SHUT_RDWR);
  }
  out.join();
  return in_status.ok() ? out_status : in_status;
}

absl::StatusOr<std::unique_ptr<Session::SshSocket>> OpenSshSocket(std::shared_ptr<RpcConnection> connection, const std::string& id, std::uint32_t uid,
                                                                  std::uint32_t gid, std::uint32_t mode) {
  auto socket = std::make_unique<ForwardingSocket>(std::move(connection), id);
  RETURN_IF_ERROR(socket->Open(uid, gid, mode));
  return socket;
}

}  // namespace cachalot::session
