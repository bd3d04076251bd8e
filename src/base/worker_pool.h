// Threads that run queued work.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace cachalot {

// A bounded pool: threads start on demand up to `max_threads` and leave after idling a while. Thread-safe.
class WorkerPool {
 public:
  // `name` labels the threads (15 characters at most are shown by the kernel).
  WorkerPool(const char* name, int max_threads);
  // Runs what is queued, then joins every thread.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;

  // Queues `work`. Never blocks.
  void Run(std::function<void()> work);

 private:
  void Loop();

  const char* const name_;
  const int max_threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable gone_;
  std::deque<std::function<void()>> queue_;
  int threads_ = 0;
  int idle_ = 0;
  bool stopping_ = false;
};

}  // namespace cachalot
