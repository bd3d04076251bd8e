#include "base/worker_pool.h"

#include <atomic>
#include <latch>

#include "gtest/gtest.h"

namespace cachalot {
namespace {

TEST(WorkerPool, DestructionRunsWhatIsQueued) {
  std::atomic<int> runs = 0;
  {
    WorkerPool pool("test", 2);
    for (int i = 0; i < 100; ++i) {
      pool.Run([&] { ++runs; });
    }
  }
  EXPECT_EQ(runs, 100);
}

TEST(WorkerPool, RunsInParallelUpToItsBound) {
  std::latch both(2);
  WorkerPool pool("test", 2);
  pool.Run([&] { both.arrive_and_wait(); });
  pool.Run([&] { both.arrive_and_wait(); });
  both.wait();
}

// Work of every level waits for work of the next in the same pool, which is far smaller.
TEST(WorkerPool, WhoWaitsMakesRoom) {
  std::atomic<int> runs = 0;
  WorkerPool pool("test", 2);
  const std::function<void(int)> nest = [&](int level) {
    ++runs;
    if (level == 0) return;
    std::latch done(3);
    for (int i = 0; i < 3; ++i) {
      pool.Run([&] {
        nest(level - 1);
        done.count_down();
      });
    }
    const WorkerPool::Waiting waiting;
    done.wait();
  };
  nest(5);
  EXPECT_EQ(runs, (729 - 1) / 2);
}

}  // namespace
}  // namespace cachalot
