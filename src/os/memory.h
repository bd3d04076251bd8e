// The memory of this process.
#pragma once

#include "absl/status/status.h"

namespace cachalot::os {

// Gives up the pages of programs and libraries that were never written to; what is needed again comes back from the page cache. For
// the end of a daemon's start-up: relocations, constructors and descriptor tables touch far more of them than its life does.
absl::Status ReleaseFilePages();

// For the start of a daemon, before its threads: keeps heaps few (what is freed in one is not used by another, and there would be
// eight per core) and their free ends short, which TrimHeap does not reach.
void LimitHeaps();
// Gives freed memory back to the system.
void TrimHeap();

}  // namespace cachalot::os
