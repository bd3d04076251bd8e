#include "solver/mailbox.h"

#include <utility>

namespace cachalot::solver {

void Mailbox::Post(std::function<void()> message) {
  std::unique_lock lock(mutex_);
  queue_.push_back(std::move(message));
  if (std::exchange(draining_, true)) {
    return;
  }
  while (!queue_.empty()) {
    std::function<void()> next = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    next();
    next = nullptr;
    lock.lock();
  }
  draining_ = false;
}

}  // namespace cachalot::solver
