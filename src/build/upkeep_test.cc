#include "build/upkeep.h"

#include <gtest/gtest.h>

#include "base/guarded.h"

namespace cachalot::build {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST(Upkeep, RunsAChoreOnceHoweverOftenItWasAskedFor) {
  Guarded<int> runs;
  Upkeep upkeep({{milliseconds(20), [&] {
                    ++*runs.Lock();
                    runs.NotifyAll();
                  }}});
  for (int i = 0; i < 5; ++i) upkeep.Ask();
  runs.Lock().Wait([](int n) { return n == 1; });
  upkeep.Ask();
  runs.Lock().Wait([](int n) { return n == 2; });
}

TEST(Upkeep, ALateChoreDoesNotHoldUpAnEarlyOne) {
  Guarded<int> early;
  bool late = false;
  {
    Upkeep upkeep({{hours(1), [&] { late = true; }}, {milliseconds(1), [&] {
                                                        ++*early.Lock();
                                                        early.NotifyAll();
                                                      }}});
    for (int i = 1; i <= 3; ++i) {
      upkeep.Ask();
      early.Lock().Wait([&](int n) { return n == i; });
    }
  }
  EXPECT_FALSE(late) << "the end does not wait for what is not due";
}

}  // namespace
}  // namespace cachalot::build
