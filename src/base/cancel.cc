#include "base/cancel.h"

#include <atomic>
#include <list>
#include <mutex>
#include <utility>
#include <vector>

namespace cachalot {

// The slot's mutex is held while its callback runs, so that unregistering waits for it.
struct CancelToken::Registration::Slot {
  std::recursive_mutex mutex;
  std::function<void()> callback;

  void Run() {
    std::lock_guard lock(mutex);
    if (callback) {
      std::exchange(callback, nullptr)();
    }
  }
  void Clear() {
    std::lock_guard lock(mutex);
    callback = nullptr;
  }
};

struct CancelToken::State {
  std::atomic<bool> cancelled{false};
  std::mutex mutex;
  absl::Status reason;
  std::vector<std::weak_ptr<Registration::Slot>> slots;

  // Drops the slots whose registration is gone; amortised by doubling.
  void Add(const std::shared_ptr<Registration::Slot>& slot) {
    if (slots.size() == slots.capacity()) {
      std::erase_if(slots, [](const auto& weak) { return weak.expired(); });
    }
    slots.push_back(slot);
  }
};

CancelToken::Registration::Registration(std::shared_ptr<Slot> slot) : slot_(std::move(slot)) {}
CancelToken::Registration::Registration(Registration&&) noexcept = default;
CancelToken::Registration& CancelToken::Registration::operator=(Registration&& other) noexcept {
  if (slot_) {
    slot_->Clear();
  }
  slot_ = std::move(other.slot_);
  return *this;
}
CancelToken::Registration::~Registration() {
  if (slot_) {
    slot_->Clear();
  }
}

bool CancelToken::cancelled() const { return state_ && state_->cancelled.load(std::memory_order_acquire); }

absl::Status CancelToken::status() const {
  if (!cancelled()) {
    return absl::OkStatus();
  }
  std::lock_guard lock(state_->mutex);
  return state_->reason;
}

CancelToken::Registration CancelToken::OnCancel(std::function<void()> callback) const {
  if (!state_) {
    return Registration();
  }
  auto slot = std::make_shared<Registration::Slot>();
  slot->callback = std::move(callback);
  bool run_now = false;
  {
    std::lock_guard lock(state_->mutex);
    run_now = state_->cancelled.load();
    if (!run_now) {
      state_->Add(slot);
    }
  }
  if (run_now) {
    slot->Run();
  }
  return Registration(std::move(slot));
}

CancelSource::CancelSource() : state_(std::make_shared<CancelToken::State>()) {}

CancelSource::CancelSource(const CancelToken& parent) : CancelSource() {
  parent_ = parent.OnCancel([weak = std::weak_ptr(state_), parent] {
    if (auto state = weak.lock()) {
      CancelSource source;
      source.state_ = state;
      source.Cancel(parent.status());
    }
  });
}

void CancelSource::Cancel(absl::Status reason) {
  decltype(state_->slots) slots;
  {
    std::lock_guard lock(state_->mutex);
    if (state_->cancelled.load()) {
      return;
    }
    state_->reason = reason.ok() ? absl::CancelledError("context canceled") : std::move(reason);
    state_->cancelled.store(true, std::memory_order_release);
    slots = std::move(state_->slots);
    state_->slots.clear();
  }
  for (const auto& weak : slots) {
    if (auto slot = weak.lock()) {
      slot->Run();
    }
  }
}

}  // namespace cachalot
