// Turns ^C into cancellation.
#pragma once

#include <thread>

#include "base/cancel.h"
#include "base/unique_fd.h"
#include "daemon/stop_signal.h"

namespace cachalot::client {

// While it lives, the first SIGINT or SIGTERM cancels its token.
class InterruptWatch {
 public:
  explicit InterruptWatch(daemon::StopSignal& signal);
  ~InterruptWatch();
  InterruptWatch(const InterruptWatch&) = delete;
  CancelToken token() const { return source_.token(); }

 private:
  CancelSource source_;
  UniqueFd done_;
  std::thread thread_;
};

}  // namespace cachalot::client
