#include "build/progress_log.h"

#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"

namespace cachalot::build {
namespace {

// What a follower makes of a build: the text of each stream, the last state of each status.
struct Seen {
  std::map<std::string, std::string> text;
  std::map<std::string, std::int64_t> statuses;
  std::size_t logs = 0, status_events = 0;

  absl::Status Take(const ProgressBatch& batch) {
    for (const solver::LogEvent& log : batch.logs) text[absl::StrCat(log.vertex, "/", log.stream)] += log.data;
    for (const solver::StatusEvent& status : batch.statuses) statuses[absl::StrCat(status.vertex, "/", status.id)] = status.current;
    logs += batch.logs.size();
    status_events += batch.statuses.size();
    return absl::OkStatus();
  }
};

// Random steps that print in small pieces and tell how far they are, and followers that come at random moments: every one of them
// sees all text and the last of each status, and what is kept does not grow with the number of events.
TEST(ProgressLogTest, FollowersSeeAllAndLittleIsKept) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  constexpr int kEvents = 100'000, kIds = 7;
  ProgressLog log;
  Seen want;
  std::vector<Seen> seen(4);
  std::vector<std::thread> followers;
  absl::Time now = absl::UnixEpoch();
  for (int i = 0; i < kEvents; ++i) {
    if (i % (kEvents / 4) == 0) {
      Seen& mine = seen[followers.size()];
      followers.emplace_back([&] { EXPECT_TRUE(log.Follow([&](const ProgressBatch& batch) { return mine.Take(batch); }, {}).ok()); });
    }
    now += absl::Microseconds(random() % 100);
    const std::string vertex = absl::StrCat("v", random() % 2);
    ProgressBatch one;
    if (random() % 2 == 0) {
      one.logs.push_back({vertex, static_cast<int>(1 + random() % 2), absl::StrCat(i, "\n"), now});
      log.OnLog(one.logs.front());
    } else {
      solver::StatusEvent status;
      status.vertex = vertex;
      status.id = absl::StrCat(random() % kIds);
      status.current = i;
      one.statuses.push_back(status);
      log.OnStatus(std::move(status));
    }
    ASSERT_TRUE(want.Take(one).ok());
  }
  log.Finish();
  for (std::thread& follower : followers) follower.join();
  Seen late;
  ASSERT_TRUE(log.Follow([&](const ProgressBatch& batch) { return late.Take(batch); }, {}).ok());
  seen.push_back(late);
  for (const Seen& mine : seen) {
    EXPECT_EQ(mine.text, want.text);
    EXPECT_EQ(mine.statuses, want.statuses);
  }
  EXPECT_EQ(late.status_events, 2U * kIds);
  EXPECT_LT(late.logs, want.logs) << "what is printed in one moment is one log";
}

// A step that prints one byte at a time, with nobody looking.
TEST(ProgressLogTest, BytesOfOneMomentAreOneLog) {
  ProgressLog log;
  Seen want, late;
  for (int i = 0; i < 100'000; ++i) {
    ProgressBatch one;
    one.logs.push_back({"v", 1, std::string(1, static_cast<char>('a' + i % 26)), absl::UnixEpoch() + absl::Microseconds(i)});
    log.OnLog(one.logs.front());
    ASSERT_TRUE(want.Take(one).ok());
  }
  log.Finish();
  ASSERT_TRUE(log.Follow([&](const ProgressBatch& batch) { return late.Take(batch); }, {}).ok());
  EXPECT_EQ(late.text, want.text);
  EXPECT_LE(late.logs, 100U);
}

}  // namespace
}  // namespace cachalot::build
