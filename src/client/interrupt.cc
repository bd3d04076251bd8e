#include "client/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstdint>

#include "base/thread.h"

namespace cachalot::client {

InterruptWatch::InterruptWatch(daemon::StopSignal& signal) : done_(eventfd(0, EFD_CLOEXEC)) {
  if (!done_.valid()) return;  // short of descriptors: the thread would never end; the second signal ends the process
  thread_ = NewThread([this, fd = signal.fd()] {
    pollfd polled[] = {{fd, POLLIN, 0}, {done_.get(), POLLIN, 0}};
    while (poll(polled, 2, -1) < 0 && errno == EINTR) {
    }
    if (polled[0].revents != 0) {
      source_.Cancel(absl::CancelledError("context canceled"));
    }
  });
}

InterruptWatch::~InterruptWatch() {
  if (!thread_.joinable()) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(done_.get(), &one, sizeof(one));
  thread_.join();
}

}  // namespace cachalot::client
