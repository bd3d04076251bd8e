#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "base/guarded.h"

namespace cachalot {

namespace {

struct Shared {
  struct Progress {
    int working = 0;
    bool closed = false;  // the caller does not wait for threads that come later
    absl::Status status;
  };
  std::function<absl::Status(std::size_t)> work;
  std::size_t count = 0;
  std::atomic<std::size_t> next = 0;
  Guarded<Progress> progress;

  void Drain() {
    for (std::size_t i = next++; i < count; i = next++) {
      if (absl::Status status = work(i); !status.ok()) {
        next = count;
        auto p = progress.Lock();
        if (p->status.ok()) p->status = std::move(status);
      }
    }
  }
};

}  // namespace

absl::Status ParallelFor(WorkerPool& pool, int helpers, std::size_t count, const std::function<absl::Status(std::size_t)>& work) {
  auto shared = std::make_shared<Shared>();
  shared->work = work;
  shared->count = count;
  for (std::size_t i = 0; i + 1 < std::min<std::size_t>(count, helpers + 1); ++i) {
    pool.Run([shared] {
      {
        auto progress = shared->progress.Lock();
        if (progress->closed) return;
        ++progress->working;
      }
      shared->Drain();
      --shared->progress.Lock()->working;
      shared->progress.NotifyAll();
    });
  }
  shared->Drain();
  auto progress = shared->progress.Lock();
  progress->closed = true;
  progress.Wait([](const Shared::Progress& p) { return p.working == 0; });
  return progress->status;
}

}  // namespace cachalot
