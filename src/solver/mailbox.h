// Serial execution without a thread of its own.
#pragma once

#include <deque>
#include <functional>
#include <mutex>

namespace cachalot::solver {

// Runs posted functions one at a time, in order. Whoever posts into an idle mailbox runs it until it is empty; others just
// leave their function there. A function that posts never recurses. Thread-safe.
class Mailbox {
 public:
  void Post(std::function<void()> message);

 private:
  std::mutex mutex_;
  std::deque<std::function<void()>> queue_;
  bool draining_ = false;
};

}  // namespace cachalot::solver
