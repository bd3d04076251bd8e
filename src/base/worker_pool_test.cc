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

}  // namespace
}  // namespace cachalot
