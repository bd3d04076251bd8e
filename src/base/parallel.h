// Equal pieces of work, done by several threads.
#pragma once

#include <cstddef>
#include <functional>

#include "absl/status/status.h"
#include "base/worker_pool.h"

namespace cachalot {

// Calls `work` for 0..count-1, on the calling thread and on up to `helpers` threads of `pool`. The caller does what the pool
// has no time for, so this may be called from the pool's own threads. Returns the first error; later pieces are skipped then.
absl::Status ParallelFor(WorkerPool& pool, int helpers, std::size_t count, const std::function<absl::Status(std::size_t)>& work);

}  // namespace cachalot
