#include "base/worker_pool.h"

#include <pthread.h>

#include <chrono>
#include <utility>

namespace cachalot {

namespace {
constexpr std::chrono::seconds kIdleLifetime(1);
}

WorkerPool::WorkerPool(const char* name, int max_threads) : name_(name), max_threads_(max_threads) {}

WorkerPool::~WorkerPool() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  wake_.notify_all();
  gone_.wait(lock, [this] { return threads_ == 0; });
}

void WorkerPool::Run(std::function<void()> work) {
  std::lock_guard lock(mutex_);
  queue_.push_back(std::move(work));
  if (idle_ >= static_cast<int>(queue_.size()) || threads_ >= max_threads_) {
    wake_.notify_one();
    return;
  }
  ++threads_;
  std::thread([this] { Loop(); }).detach();
}

void WorkerPool::Loop() {
  pthread_setname_np(pthread_self(), name_);
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    const bool woken = wake_.wait_for(lock, kIdleLifetime, [this] { return stopping_ || !queue_.empty(); });
    --idle_;
    if (queue_.empty()) {
      if (!woken || stopping_) {
        break;
      }
      continue;
    }
    std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    work = nullptr;
    lock.lock();
  }
  if (--threads_ == 0) {
    gone_.notify_all();  // under the lock: the destructor cannot return before this thread lets go of it
  }
}

}  // namespace cachalot
