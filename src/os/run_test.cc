#include "os/run.h"

#include <gtest/gtest.h>

namespace cachalot::os {
namespace {

Command Shell(const std::string& script) { return {.argv = {"/bin/sh", "-c", script}}; }

TEST(RunTest, TakesBothStreamsAndTheExitCode) {
  const auto result = os::Run(Shell("echo out; echo err >&2; exit 3"), {}, {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit.code, 3);
  EXPECT_EQ(result->out, "out\n");
  EXPECT_EQ(result->err, "err\n");
}

TEST(RunTest, KeepsAsMuchAsIsAskedAndTellsOfAll) {
  std::size_t told = 0;
  RunOptions options{.max_bytes = 10, .on_output = [&](int, absl::string_view bytes) { told += bytes.size(); }};
  const auto result = os::Run(Shell("head -c 300000 /dev/zero"), options, {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out.size(), 10u);
  EXPECT_EQ(told, 300000u);
}

TEST(RunTest, CancellationEndsTheProgramAndItsChildren) {
  CancelSource source;
  RunOptions options;
  options.on_output = [&](int, absl::string_view) { source.Cancel(); };
  const auto result = os::Run(Shell("sleep 1000 & echo started; wait"), options, source.token());
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
}

TEST(RunTest, SetsTheUmask) {
  Command command = Shell("umask");
  command.umask = 027;
  const auto result = os::Run(command, {}, {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, "0027\n");
}

TEST(RunTest, MissingProgramIsNotFound) { EXPECT_TRUE(absl::IsNotFound(os::Run({.argv = {"no-such-program"}}, {}, {}).status())); }

}  // namespace
}  // namespace cachalot::os
