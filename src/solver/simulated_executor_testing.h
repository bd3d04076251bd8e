// Commands of the solver in simulated time, as many at once as there are.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "solver/solver.h"

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace cachalot::solver {

// Work runs on stacks of its own and takes the time that it sleeps. What is due at the same time comes in an order drawn from a seed.
class SimulatedExecutor : public Executor {
 public:
  explicit SimulatedExecutor(unsigned seed) : random_(seed) {}

  std::int64_t now() const { return now_; }
  void Run(std::function<void()> work) override {
    At(now_, [this, work = std::move(work)]() mutable { Begin(std::move(work)); });
  }
  // Runs `event` between commands.
  void At(std::int64_t time, std::function<void()> event) { due_.emplace(std::make_pair(time, random_()), std::move(event)); }
  // For work: goes on `time` later.
  void Sleep(std::int64_t time) {
    Fiber* fiber = running_;
    At(now_ + time, [this, fiber] { Resume(fiber); });
    Switch(fiber, &main_);
  }
  // Until nothing is left to do.
  void Drain() {
    while (!due_.empty()) {
      auto event = std::move(due_.begin()->second);
      now_ = due_.begin()->first.first;
      due_.erase(due_.begin());
      event();
    }
  }

 private:
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    std::function<void()> work;
#if defined(__SANITIZE_THREAD__)
    void* seen = __tsan_get_current_fiber();
#endif
  };
  static constexpr std::size_t kStack = 512 << 10;

  void Begin(std::function<void()> work) {
    if (idle_.empty()) {
      Fiber* fiber = fibers_.emplace_back(std::make_unique<Fiber>()).get();
      fiber->stack.reset(new char[kStack]);
      getcontext(&fiber->context);
      fiber->context.uc_stack.ss_sp = fiber->stack.get();
      fiber->context.uc_stack.ss_size = kStack;
      const auto self = reinterpret_cast<std::uintptr_t>(this);
      makecontext(&fiber->context, reinterpret_cast<void (*)()>(&Loop), 2, static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
#if defined(__SANITIZE_THREAD__)
      fiber->seen = __tsan_create_fiber(0);
#endif
      idle_.push_back(fiber);
    }
    Fiber* fiber = idle_.back();
    idle_.pop_back();
    fiber->work = std::move(work);
    Resume(fiber);
  }
  void Resume(Fiber* fiber) {
    running_ = fiber;
    Switch(&main_, fiber);
  }
  static void Switch(Fiber* from, Fiber* to) {
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to->seen, 0);
#endif
    swapcontext(&from->context, &to->context);
  }
  static void Loop(unsigned high, unsigned low) {
    auto* self = reinterpret_cast<SimulatedExecutor*>(static_cast<std::uintptr_t>(high) << 32 | low);
    while (true) {
      Fiber* fiber = self->running_;
      fiber->work();
      fiber->work = nullptr;
      self->idle_.push_back(fiber);
      Switch(fiber, &self->main_);
    }
  }

  std::mt19937 random_;
  std::int64_t now_ = 0;
  std::multimap<std::pair<std::int64_t, std::uint64_t>, std::function<void()>> due_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  Fiber main_;
  Fiber* running_ = nullptr;
};

}  // namespace cachalot::solver
