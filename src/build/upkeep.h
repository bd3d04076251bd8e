// What is done some time after builds rather than by them.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "base/guarded.h"

namespace cachalot::build {

// Runs chores on a thread of its own.
class Upkeep {
 public:
  struct Chore {
    std::chrono::milliseconds delay;
    std::function<void()> work;
  };
  explicit Upkeep(std::vector<Chore> chores);
  // Waits for the chore that runs; the others are not begun.
  ~Upkeep();
  // Makes every chore due when its delay is over, but for those that are due already.
  void Ask();

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct State {
    std::vector<std::optional<Time>> due;  // of each chore
    bool stopping = false;
    std::optional<std::size_t> Next() const;  // the chore that is due first
  };
  void Loop();

  const std::vector<Chore> chores_;
  Guarded<State> state_;
  std::thread thread_;
};

}  // namespace cachalot::build
