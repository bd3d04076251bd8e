#include "base/cancel.h"

#include <thread>

#include "gtest/gtest.h"

namespace cachalot {
namespace {

TEST(Cancel, DefaultTokenIsNeverCancelled) {
  CancelToken token;
  EXPECT_FALSE(token.cancelled());
  EXPECT_TRUE(token.status().ok());
}

TEST(Cancel, RunsCallbacksOnceWithTheFirstReason) {
  CancelSource source;
  int runs = 0;
  auto registration = source.token().OnCancel([&] { ++runs; });
  source.Cancel(absl::DeadlineExceededError("late"));
  source.Cancel();
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(source.token().status().message(), "late");
}

TEST(Cancel, RunsAtOnceWhenAlreadyCancelled) {
  CancelSource source;
  source.Cancel();
  int runs = 0;
  auto registration = source.token().OnCancel([&] { ++runs; });
  EXPECT_EQ(runs, 1);
}

TEST(Cancel, DroppedRegistrationDoesNotRun) {
  CancelSource source;
  int runs = 0;
  {
    auto registration = source.token().OnCancel([&] { ++runs; });
  }
  source.Cancel();
  EXPECT_EQ(runs, 0);
}

TEST(Cancel, ChildFollowsParentButNotTheOtherWay) {
  CancelSource parent;
  CancelSource child(parent.token());
  CancelSource other(parent.token());
  other.Cancel();
  EXPECT_FALSE(parent.token().cancelled());
  parent.Cancel(absl::AbortedError("stop"));
  EXPECT_EQ(child.token().status().message(), "stop");
}

TEST(Cancel, RegistrationRaceIsClean) {
  for (int i = 0; i < 200; ++i) {
    CancelSource source;
    std::thread canceller([&] { source.Cancel(); });
    int runs = 0;
    {
      auto registration = source.token().OnCancel([&] { ++runs; });
    }
    canceller.join();
    EXPECT_LE(runs, 1);
  }
}

}  // namespace
}  // namespace cachalot
