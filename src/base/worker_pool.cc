#include "base/worker_pool.h"

#include <pthread.h>

#include <chrono>
#include <system_error>
#include <utility>

#include "base/thread.h"

namespace cachalot {

namespace {
constexpr std::chrono::seconds kIdleLifetime(1);

thread_local WorkerPool* pool_of_thread = nullptr;
}  // namespace

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
  wake_.notify_one();
  StartThread();
}

void WorkerPool::StartThread() {
  if (idle_ >= static_cast<int>(queue_.size()) || threads_ - waiting_ >= max_threads_) return;
  ++threads_;
  try {
    std::thread([this] { Loop(); }).detach();
  } catch (const std::system_error&) {
    if (threads_ == 1) return NewThread([this] { Loop(); }).detach();
    --threads_;  // the system has no more: the threads that are there take the work
  }
}

WorkerPool::Waiting::Waiting() : pool_(std::exchange(pool_of_thread, nullptr)) {
  if (pool_ == nullptr) return;
  std::lock_guard lock(pool_->mutex_);
  ++pool_->waiting_;
  pool_->StartThread();
}

WorkerPool::Waiting::~Waiting() {
  if (pool_ == nullptr) return;
  pool_of_thread = pool_;
  std::lock_guard lock(pool_->mutex_);
  --pool_->waiting_;
}

void WorkerPool::Loop() {
  pthread_setname_np(pthread_self(), name_);
  pool_of_thread = this;
  std::unique_lock lock(mutex_);
  while (threads_ - waiting_ <= max_threads_) {
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
