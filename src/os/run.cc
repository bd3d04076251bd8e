#include "os/run.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace cachalot::os {
namespace {

constexpr std::chrono::seconds kGrace(10);

struct Pipe {
  UniqueFd read, write;
};

absl::Status OpenPipe(Pipe& pipe) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoError("pipe");
  pipe.read.reset(ends[0]);
  pipe.write.reset(ends[1]);
  if (::fcntl(pipe.read.get(), F_SETFL, O_NONBLOCK) != 0) return ErrnoError("fcntl");
  return absl::OkStatus();
}

// Reads what two pipes hold until the child ends.
class Gatherer {
 public:
  Gatherer(const RunOptions& options, RunResult& result) : options_(options), texts_{&result.out, &result.err} {}

  absl::Status Open(Command& command) {
    RETURN_IF_ERROR(OpenPipe(pipes_[0]));
    RETURN_IF_ERROR(OpenPipe(pipes_[1]));
    wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_.valid()) return ErrnoError("eventfd");
    command.stdout_fd = pipes_[0].write.get();
    command.stderr_fd = pipes_[1].write.get();
    return absl::OkStatus();
  }
  void CloseWriters() {
    pipes_[0].write.reset();
    pipes_[1].write.reset();
  }
  void Wake() const {
    const std::uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
  }

  // Returns when the child has ended, with all that it printed; helpers that outlive it are not waited for.
  void Gather(const ChildProcess& child, const CancelToken& cancel) {
    std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
    bool told = false;
    while (true) {
      int timeout_ms = -1;
      if (cancel.cancelled() && !told) {
        told = true;
        deadline = std::chrono::steady_clock::now() + kGrace;
        ::kill(-child.pid(), SIGTERM);
      }
      if (told) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
        if (left <= 0) ::kill(-child.pid(), SIGKILL);
        timeout_ms = static_cast<int>(std::max<long>(left, 100));
      }
      struct pollfd fds[4] = {
          {pipes_[0].read.get(), POLLIN, 0}, {pipes_[1].read.get(), POLLIN, 0}, {child.pidfd(), POLLIN, 0}, {told ? -1 : wake_.get(), POLLIN, 0}};
      if (::poll(fds, 4, timeout_ms) < 0 && errno != EINTR) return;
      for (int i = 0; i < 2; ++i) Drain(i);
      if (child.EndsWithin(0)) break;
    }
    for (int i = 0; i < 2; ++i) Drain(i);
  }

 private:
  void Drain(int i) {
    char buffer[32768];
    while (pipes_[i].read.valid()) {
      const ssize_t n = ::read(pipes_[i].read.get(), buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) return pipes_[i].read.reset();
      const absl::string_view bytes(buffer, static_cast<std::size_t>(n));
      texts_[i]->append(bytes.data(), std::min(bytes.size(), options_.max_bytes - std::min(options_.max_bytes, texts_[i]->size())));
      if (options_.on_output) options_.on_output(i + 1, bytes);
    }
  }

  const RunOptions& options_;
  std::string* const texts_[2];
  Pipe pipes_[2];
  UniqueFd wake_;
};

}  // namespace

absl::StatusOr<RunResult> Run(Command command, const RunOptions& options, const CancelToken& cancel) {
  RETURN_IF_ERROR(cancel.status());
  RunResult result;
  Gatherer gatherer(options, result);
  RETURN_IF_ERROR(gatherer.Open(command));
  command.new_session = true;
  ASSIGN_OR_RETURN(ChildProcess child, Spawner::Shared().Spawn(command));
  gatherer.CloseWriters();
  {
    const CancelToken::Registration wake = cancel.OnCancel([&] { gatherer.Wake(); });
    gatherer.Gather(child, cancel);
  }
  ASSIGN_OR_RETURN(result.exit, child.Wait());
  if (cancel.cancelled() && result.exit.code != 0) return cancel.status();
  return result;
}

}  // namespace cachalot::os
