// A value that can only be touched while its mutex is held.
#pragma once

#include <condition_variable>
#include <mutex>
#include <utility>

namespace cachalot {

// Guarded<T> owns a T and its std::mutex. Lock() yields a pointer-like handle that holds the lock for its lifetime.
template <typename T>
class Guarded {
 public:
  class Handle {
   public:
    explicit Handle(Guarded& owner) : lock_(owner.mutex_), owner_(owner) {}
    T& operator*() { return owner_.value_; }
    T* operator->() { return &owner_.value_; }

    // Releases the lock until notified and `ready` holds.
    template <typename Predicate>
    void Wait(Predicate ready) {
      owner_.changed_.wait(lock_, [&] { return ready(owner_.value_); });
    }
    // The same with a deadline; false when it passed first.
    template <typename Deadline, typename Predicate>
    bool WaitUntil(Deadline deadline, Predicate ready) {
      return owner_.changed_.wait_until(lock_, deadline, [&] { return ready(owner_.value_); });
    }

   private:
    std::unique_lock<std::mutex> lock_;
    Guarded& owner_;
  };

  Guarded() = default;
  explicit Guarded(T value) : value_(std::move(value)) {}
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  Handle Lock() { return Handle(*this); }
  // Wakes every waiter of Handle::Wait.
  void NotifyAll() { changed_.notify_all(); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  T value_{};
};

}  // namespace cachalot
