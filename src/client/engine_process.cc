#include "client/engine_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "build/root_lock.h"
#include "daemon/leases.h"
#include "daemon/server.h"
#include "daemon/stop_signal.h"
#include "os/mount.h"

namespace cachalot::client {

namespace {

constexpr std::chrono::seconds kPatience(30);
constexpr int kRetryMs = 5;
constexpr int kFirstFd = 3;  // of the engine's process, after stdin, stdout and stderr

struct SocketPair {
  UniqueFd ours, theirs;
};

absl::StatusOr<SocketPair> NewSocketPair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return ErrnoError("socketpair");
  return SocketPair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// Copies what the engine logs to stderr, until it has ended or the socket is shut down.
void CopyLog(int socket) {
  char buffer[4096];
  ssize_t got;
  while ((got = ::recv(socket, buffer, sizeof buffer, 0)) > 0 || (got < 0 && errno == EINTR)) {
    for (ssize_t done = 0, written; done < got; done += written) {
      if ((written = ::write(STDERR_FILENO, buffer + done, static_cast<std::size_t>(got - done))) < 0) return;
    }
  }
}

absl::Status ServeClients(const build::Config& config, int lease, int connection) {
  daemon::StopSignal stop;
  RETURN_IF_ERROR(os::EnterPrivateMountNamespace());
  ASSIGN_OR_RETURN(const auto engine, build::Engine::Open(config));
  ASSIGN_OR_RETURN(const auto server, daemon::Server::Start({}, *engine));
  daemon::ReportStart(lease, absl::OkStatus());
  server->leases().Add(UniqueFd(lease), UniqueFd(connection));
  server->leases().AwaitLast(stop.fd());
  server->Shutdown();
  return absl::OkStatus();
}

// The engine's process. It keeps nothing of its client: neither terminal nor directory, and no descriptor that others wait for.
[[noreturn]] void RunEngine(const build::Config& config, int lease, int connection, int log) {
  ::setsid();
  const int null = ::open("/dev/null", O_RDWR);
  const bool quiet = ::chdir("/") == 0 && ::dup2(null, STDIN_FILENO) == STDIN_FILENO && ::dup2(null, STDOUT_FILENO) == STDOUT_FILENO &&
                     ::dup2(log, STDERR_FILENO) == STDERR_FILENO;
  // Moved out of the way of the numbers that they shall have.
  lease = ::fcntl(lease, F_DUPFD_CLOEXEC, kFirstFd + 2);
  connection = ::fcntl(connection, F_DUPFD_CLOEXEC, kFirstFd + 2);
  if (!quiet || ::dup3(lease, kFirstFd, O_CLOEXEC) < 0 || ::dup3(connection, kFirstFd + 1, O_CLOEXEC) < 0 ||
      ::syscall(SYS_close_range, kFirstFd + 2, ~0U, 0) != 0) {
    ::_exit(1);
  }
  const absl::Status status = ServeClients(config, kFirstFd, kFirstFd + 1);
  if (!status.ok()) daemon::ReportStart(kFirstFd, status);
  ::_exit(status.ok() ? 0 : 1);  // what belongs to the client is not touched
}

// Why a process that said nothing ended; waits for its end. OK if it is not known.
absl::Status DeathOf(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return absl::OkStatus();
  }
  if (!WIFSIGNALED(status)) return absl::AbortedError(absl::StrCat("the engine's process ended while it started: exit code ", WEXITSTATUS(status)));
  return absl::AbortedError(
      absl::StrCat("the engine's process was killed while it started: signal ", WTERMSIG(status), ", ", ::strsignal(WTERMSIG(status))));
}

}  // namespace

absl::StatusOr<std::unique_ptr<EngineProcess>> EngineProcess::Join(const std::string& root, int stop_fd) {
  ASSIGN_OR_RETURN(UniqueFd owner, build::ConnectToOwner(root));
  ASSIGN_OR_RETURN(SocketPair pair, NewSocketPair());
  std::unique_ptr<EngineProcess> process(new EngineProcess());
  ASSIGN_OR_RETURN(process->lease_, daemon::TakeLease(std::move(owner), std::move(pair.theirs), stop_fd));
  process->connection_ = std::move(pair.ours);
  return process;
}

absl::StatusOr<std::unique_ptr<EngineProcess>> EngineProcess::Start(const build::Config& config, int stop_fd) {
  ASSIGN_OR_RETURN(SocketPair lease, NewSocketPair());
  ASSIGN_OR_RETURN(SocketPair connection, NewSocketPair());
  ASSIGN_OR_RETURN(SocketPair log, NewSocketPair());
  std::unique_ptr<EngineProcess> process(new EngineProcess());
  process->pid_ = ::fork();
  if (process->pid_ < 0) return ErrnoError("fork");
  if (process->pid_ == 0) RunEngine(config, lease.theirs.get(), connection.theirs.get(), log.theirs.get());
  lease.theirs.reset();
  log.theirs.reset();
  process->log_ = std::move(log.ours);
  process->log_reader_ = NewThread([socket = process->log_.get()] { CopyLog(socket); });  // an engine that cannot start says why it waits
  const absl::Status started = daemon::AwaitStart(lease.ours.get(), stop_fd);
  process->lease_ = std::move(lease.ours);
  if (absl::IsAborted(started)) {
    const absl::Status death = DeathOf(std::exchange(process->pid_, -1));
    return death.ok() ? started : death;
  }
  if (!started.ok()) return started;
  process->connection_ = std::move(connection.ours);
  return process;
}

absl::StatusOr<std::unique_ptr<EngineProcess>> EngineProcess::Find(const build::Config& config, int stop_fd) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    absl::StatusOr<std::unique_ptr<EngineProcess>> process = Join(config.root, stop_fd);
    if (absl::IsUnavailable(process.status())) process = Start(config, stop_fd);
    if (!absl::IsUnavailable(process.status()) || std::chrono::steady_clock::now() > deadline) return process;
    pollfd polled = {stop_fd, POLLIN, 0};
    if (::poll(&polled, 1, kRetryMs) > 0) return absl::CancelledError("context canceled");
  }
}

EngineProcess::~EngineProcess() {
  if (!lease_.valid()) return;
  const bool ended = daemon::EndLease(std::move(lease_));
  if (pid_ > 0 && ended) ::waitpid(pid_, nullptr, 0);
  if (!log_.valid()) return;
  if (!ended) ::shutdown(log_.get(), SHUT_RDWR);
  if (log_reader_.joinable()) {
    log_reader_.join();
  } else {
    CopyLog(log_.get());
  }
}

}  // namespace cachalot::client
