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

  // While one lives, the calling thread waits for other work: if it is a pool's, that runs another thread in its place. Nested ones are
  // one.
  class Waiting {
   public:
    Waiting();
    ~Waiting();
    Waiting(const Waiting&) = delete;

   private:
    WorkerPool* const pool_;
  };

 private:
  void Loop();
  void StartThread();  // with the lock held, when one is wanted and allowed

  const char* const name_;
  const int max_threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable gone_;
  std::deque<std::function<void()>> queue_;
  int threads_ = 0;
  int idle_ = 0;
  int waiting_ = 0;  // of the threads: they do not count against the bound
  bool stopping_ = false;
};

}  // namespace cachalot
