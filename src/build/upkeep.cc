#include "build/upkeep.h"

#include <utility>

#include "base/thread.h"

namespace cachalot::build {

Upkeep::Upkeep(std::vector<Chore> chores) : chores_(std::move(chores)) {
  state_.Lock()->due.resize(chores_.size());
  thread_ = NewThread([this] { Loop(); });
}

Upkeep::~Upkeep() {
  state_.Lock()->stopping = true;
  state_.NotifyAll();
  thread_.join();
}

void Upkeep::Ask() {
  const Time now = std::chrono::steady_clock::now();
  {
    auto state = state_.Lock();
    for (std::size_t i = 0; i < chores_.size(); ++i) {
      if (!state->due[i].has_value()) state->due[i] = now + chores_[i].delay;
    }
  }
  state_.NotifyAll();
}

std::optional<std::size_t> Upkeep::State::Next() const {
  std::optional<std::size_t> next;
  for (std::size_t i = 0; i < due.size(); ++i) {
    if (due[i].has_value() && (!next.has_value() || *due[i] < *due[*next])) next = i;
  }
  return next;
}

void Upkeep::Loop() {
  while (true) {
    std::optional<std::size_t> next;
    {
      auto state = state_.Lock();
      state.Wait([](const State& s) { return s.stopping || s.Next().has_value(); });
      if (state->stopping) return;
      next = state->Next();
      // Another may be asked for that is due before.
      const auto changed = [&](const State& s) { return s.stopping || s.Next() != next; };
      if (state.WaitUntil(*state->due[*next], changed)) continue;
      state->due[*next].reset();
    }
    chores_[*next].work();
  }
}

}  // namespace cachalot::build
