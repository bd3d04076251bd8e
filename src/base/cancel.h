// Cooperative cancellation: a source is cancelled once, its tokens observe it.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"

namespace cachalot {

// A cheap, copyable view of a CancelSource. A default-constructed token is never cancelled. Thread-safe.
class CancelToken {
 public:
  // Keeps a callback registered; destruction unregisters it and waits for a run in progress on another thread.
  class Registration {
   public:
    Registration() = default;
    Registration(Registration&&) noexcept;
    Registration& operator=(Registration&&) noexcept;
    ~Registration();

   private:
    friend class CancelToken;
    friend class CancelSource;
    struct Slot;
    explicit Registration(std::shared_ptr<Slot> slot);
    std::shared_ptr<Slot> slot_;
  };

  CancelToken() = default;
  bool cancelled() const;
  // OK, or the reason of the cancellation (a CANCELLED error unless another was given).
  absl::Status status() const;
  // Runs `callback` once, on the cancelling thread, or at once when already cancelled.
  [[nodiscard]] Registration OnCancel(std::function<void()> callback) const;

 private:
  friend class CancelSource;
  struct State;
  explicit CancelToken(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

class CancelSource {
 public:
  CancelSource();
  // A source that is cancelled together with `parent`.
  explicit CancelSource(const CancelToken& parent);
  CancelToken token() const { return CancelToken(state_); }
  // The first call wins; later ones do nothing.
  void Cancel(absl::Status reason = absl::CancelledError("context canceled"));

 private:
  std::shared_ptr<CancelToken::State> state_;
  CancelToken::Registration parent_;
};

}  // namespace cachalot
