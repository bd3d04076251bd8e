#include "op/exec_slots.h"

#include "base/status_macros.h"

namespace cachalot::op {

absl::StatusOr<std::shared_ptr<void>> ExecSlots::Acquire(const CancelToken& cancel) {
  if (unlimited_) return std::shared_ptr<void>();
  const CancelToken::Registration wake = cancel.OnCancel([this] {
    free_.Lock();  // so that no waiter is between its look at the token and its sleep
    free_.NotifyAll();
  });
  auto free = free_.Lock();
  free.Wait([&](int count) { return count > 0 || cancel.cancelled(); });
  RETURN_IF_ERROR(cancel.status());
  --*free;
  return std::shared_ptr<void>(nullptr, [this](void*) {
    ++*free_.Lock();
    free_.NotifyAll();
  });
}

}  // namespace cachalot::op
