// SIGTERM and SIGINT: the first asks to stop, the second ends the process at once.
#pragma once

#include "absl/status/status.h"
#include "base/unique_fd.h"

namespace cachalot::daemon {

// Catches both signals, and ignores SIGPIPE. At most one object per process. Handlers, not a blocked mask: children inherit masks.
class StopSignal {
 public:
  StopSignal();
  StopSignal(const StopSignal&) = delete;
  // Blocks until the first signal.
  void Wait();
  // Readable from the first signal on.
  int fd() const { return read_end_.get(); }

 private:
  UniqueFd read_end_, write_end_;
};

// Tells a service manager (NOTIFY_SOCKET, sd_notify(3)) `state`: "READY=1", "STOPPING=1".
void NotifyServiceManager(const char* state);

}  // namespace cachalot::daemon
