#include "daemon/output_pump.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::daemon {

namespace {

constexpr std::size_t kReadBytes = 32 << 10;
constexpr int kReadsPerPipe = 2;  // a pipe holds 64 KiB

}  // namespace

absl::Status OpenPipe(bool parent_reads, UniqueFd& parent, UniqueFd& child) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoError("pipe");
  parent.reset(ends[parent_reads ? 0 : 1]);
  child.reset(ends[parent_reads ? 1 : 0]);
  return ::fcntl(parent.get(), F_SETFL, O_NONBLOCK) == 0 ? absl::OkStatus() : ErrnoError("fcntl");
}

absl::StatusOr<OutputPump> OutputPump::Create() {
  OutputPump pump;
  pump.stop_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!pump.stop_.valid()) return ErrnoError("eventfd");
  return pump;
}

absl::StatusOr<UniqueFd> OutputPump::AddStream(std::uint32_t stream) {
  UniqueFd child;
  RETURN_IF_ERROR(OpenPipe(/*parent_reads=*/true, pipes_[stream], child));
  return child;
}

void OutputPump::Stop() {
  const std::uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one);
}

absl::StatusOr<bool> OutputPump::ReadOne(std::uint32_t stream, UniqueFd& pipe, const Sink& sink) {
  char buffer[kReadBytes];
  const ssize_t n = ::read(pipe.get(), buffer, sizeof buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n > 0) {
    RETURN_IF_ERROR(sink(stream, absl::string_view(buffer, static_cast<std::size_t>(n))));
    return true;
  }
  pipe.reset();
  RETURN_IF_ERROR(sink(stream, ""));
  return false;
}

absl::Status OutputPump::Run(const Sink& sink) {
  bool stopping = false;
  while (!stopping && !pipes_.empty()) {
    std::vector<struct pollfd> events = {{stop_.get(), POLLIN, 0}};
    for (const auto& [stream, pipe] : pipes_) events.push_back({pipe.get(), POLLIN, 0});
    if (::poll(events.data(), events.size(), -1) < 0 && errno != EINTR) return ErrnoError("poll");
    stopping = events[0].revents != 0;
    std::size_t index = 1;
    for (auto& [stream, pipe] : pipes_) {
      if (events[index++].revents == 0 && !stopping) continue;
      bool more = true;
      for (int reads = 0; more && reads < (stopping ? kReadsPerPipe : 1); ++reads) {
        ASSIGN_OR_RETURN(more, ReadOne(stream, pipe, sink));
      }
    }
    std::erase_if(pipes_, [](const auto& entry) { return !entry.second.valid(); });
  }
  for (const auto& [stream, pipe] : pipes_) RETURN_IF_ERROR(sink(stream, ""));
  pipes_.clear();
  return absl::OkStatus();
}

}  // namespace cachalot::daemon
