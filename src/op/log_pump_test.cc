#include "op/log_pump.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace cachalot::op {
namespace {

using Seconds = LogLimit::Seconds;

LogBounds Bounds(const std::map<std::string, std::string>& variables) {
  return LogBounds::FromEnvironment([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(LogBounds, ComeFromTheEnvironment) {
  EXPECT_EQ(Bounds({}).max_bytes, 2 << 20);
  EXPECT_EQ(Bounds({}).max_bytes_per_second, 200 << 10);
  EXPECT_EQ(Bounds({{"BUILDKIT_STEP_LOG_MAX_SIZE", "-1"}}).max_bytes, -1);
  EXPECT_EQ(Bounds({{"BUILDKIT_STEP_LOG_MAX_SPEED", "4096"}}).max_bytes_per_second, 4096);
  EXPECT_EQ(Bounds({{"BUILDKIT_STEP_LOG_MAX_SIZE", "lots"}}).max_bytes, 2 << 20);
  EXPECT_EQ(Bounds({{"BUILDKIT_STEP_LOG_MAX_SIZE", "99999999999"}}).max_bytes, 2 << 20);
}

TEST(LogLimit, ClipsBySpeedAndBySize) {
  LogLimit fast({1000, 10});
  EXPECT_EQ(fast.Pass("0123456789abc", Seconds(0.5)), "0123456789\n[output clipped, log limit 10B/s reached]\n");
  EXPECT_EQ(fast.Pass("def", Seconds(0.6)), "");
  EXPECT_EQ(fast.TakeTail(), "0123456789abcdef");
  LogLimit large({1536, -1});
  EXPECT_EQ(large.Pass(std::string(2000, 'x'), Seconds(0.5)), std::string(1536, 'x') + "\n[output clipped, log limit 1.5KiB reached]\n");
}

TEST(LogLimit, WithoutASizeNothingIsClipped) {
  LogLimit limit({-1, 10});
  const std::string data(5 << 20, 'x');
  EXPECT_EQ(limit.Pass(data, Seconds(0.1)), data);
  EXPECT_EQ(limit.TakeTail(), "");
}

// Whatever the sizes of the pieces: what is shown is a beginning of what was printed, up to the bound, and one note.
TEST(LogLimit, ShowsABeginningOfAnyOutput) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    const std::int64_t bound = static_cast<std::int64_t>(random() % 5000);
    LogLimit limit({bound, -1});
    std::string printed, shown;
    for (int i = 0; i < 20; ++i) {
      const std::string piece(1 + random() % 600, static_cast<char>('a' + i));
      printed += piece;
      shown += limit.Pass(piece, Seconds(i));
    }
    const std::size_t note = shown.find("\n[output clipped");
    EXPECT_EQ(shown.substr(0, note), printed.substr(0, static_cast<std::size_t>(bound)));
    EXPECT_EQ(note == std::string::npos, printed.size() <= static_cast<std::size_t>(bound));
    EXPECT_EQ(shown.rfind("\n[output clipped"), note);
    EXPECT_EQ(limit.TakeTail().empty(), note == std::string::npos);
  }
}

}  // namespace
}  // namespace cachalot::op
