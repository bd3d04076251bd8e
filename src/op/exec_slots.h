// A bound on how many containers run at once.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/guarded.h"

namespace cachalot::op {

// Thread-safe; outlives its slots.
class ExecSlots {
 public:
  explicit ExecSlots(int count) : unlimited_(count <= 0) { *free_.Lock() = count; }
  // Waits for a free slot; it is given back when the returned pointer goes.
  absl::StatusOr<std::shared_ptr<void>> Acquire(const CancelToken& cancel);

 private:
  const bool unlimited_;
  Guarded<int> free_;
};

}  // namespace cachalot::op
