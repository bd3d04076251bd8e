#include "client/progress/display.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_join.h"
#include "client/progress/scenarios_testing.h"
#include "client/progress/terminal.h"
#include "client/progress/text.h"
#include "client/progress/trace.h"

namespace cachalot::client::progress {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FakeClock : public Clock {
 public:
  // Behind the builder's by a bit more than a minute: displays have to show their own time.
  absl::Time now = ScenarioStart() - absl::Seconds(70);
  absl::Time Now() override { return now; }
};

class StringOutput : public Output {
 public:
  std::string text;
  Size size{60, 16};
  void Write(absl::string_view more) override { absl::StrAppend(&text, more); }
  Size GetSize() const override { return size; }
};

std::filesystem::path GoldenDir() {
  for (std::filesystem::path dir = std::filesystem::read_symlink("/proc/self/exe").parent_path(); dir.has_relative_path(); dir = dir.parent_path()) {
    if (std::filesystem::is_directory(dir / "tests" / "golden")) return dir / "tests" / "golden" / "progress";
  }
  return "tests/golden/progress";
}

// CACHALOT_ACCEPT=1 rewrites the golden files. The plain ones are what BuildKit's own printer makes of the rawjson ones.
void ExpectGolden(const std::string& text, const std::string& name) {
  const std::filesystem::path path = GoldenDir() / name;
  if (const char* accept = std::getenv("CACHALOT_ACCEPT"); accept != nullptr && std::string(accept) == "1") {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  std::stringstream golden;
  golden << std::ifstream(path).rdbuf();
  EXPECT_EQ(text, golden.str()) << "differs from " << path << "; CACHALOT_ACCEPT=1 accepts it";
}

class Displays : public ::testing::TestWithParam<Scenario (*)()> {};

constexpr absl::Duration kRefreshInterval = absl::Milliseconds(150);  // of LiveDisplay

std::string Play(const Scenario& scenario, Mode mode) {
  FakeClock clock;
  StringOutput output;
  auto display = NewDisplay(mode, &output, &clock);
  for (const Moment& moment : scenario.moments) {
    absl::Duration wait = moment.after;
    for (; wait > kRefreshInterval; wait -= kRefreshInterval) {
      clock.now += kRefreshInterval;
      display->Refresh();
    }
    clock.now += wait;
    display->Update(moment.batch);
  }
  display->Finish();
  return output.text;
}

TEST_P(Displays, Plain) {
  const Scenario scenario = GetParam()();
  ExpectGolden(Play(scenario, Mode::kPlain), scenario.name + ".plain");
}

TEST_P(Displays, RawJson) {
  const Scenario scenario = GetParam()();
  ExpectGolden(Play(scenario, Mode::kRawJson), scenario.name + ".rawjson");
}

// What a screen of 16 lines shows after each moment.
TEST_P(Displays, Tty) {
  const Scenario scenario = GetParam()();
  FakeClock clock;
  StringOutput output;
  Terminal screen(output.size.height, output.size.width);
  auto display = NewDisplay(Mode::kTty, &output, &clock);
  std::string shown;
  const auto show = [&] {
    screen.Write(output.text);
    output.text.clear();
    absl::StrAppend(&shown, "--- ", absl::FormatDuration(clock.now - (ScenarioStart() - absl::Seconds(70))), "\n",
                    absl::StrJoin(screen.Lines(), "\n"), "\n");
  };
  for (const Moment& moment : scenario.moments) {
    clock.now += moment.after;
    display->Update(moment.batch);
    show();
  }
  display->Finish();
  show();
  ExpectGolden(shown, scenario.name + ".tty");
}

INSTANTIATE_TEST_SUITE_P(Builds, Displays, ::testing::Values(Ordinary, Failing, Grouped, Cancelled),
                         [](const auto& scenario) { return scenario.param().name; });

TEST(Tty, RefreshesTimersButNotTooOften) {
  FakeClock clock;
  StringOutput output;
  auto display = NewDisplay(Mode::kTty, &output, &clock);
  Batch batch;
  solver::VertexEvent event;
  event.digest = "sha256:a";
  event.name = "work\nhard";
  event.started = ScenarioStart();
  batch.vertexes = {event};
  display->Update(batch);
  EXPECT_THAT(output.text, HasSubstr(" => work hard"));
  output.text.clear();
  clock.now += absl::Milliseconds(99);
  display->Update(batch);
  EXPECT_EQ(output.text, "");
  clock.now += absl::Milliseconds(2401);
  display->Refresh();
  EXPECT_THAT(output.text, HasSubstr("[+] Building 2.5s (0/1)"));
  EXPECT_THAT(output.text, HasSubstr("2.5s\n"));
}

TEST(Tty, KeepsRunningStepsOnASmallScreen) {
  FakeClock clock;
  StringOutput output;
  output.size = {40, 6};
  auto display = NewDisplay(Mode::kTty, &output, &clock);
  Batch batch;
  for (int i = 0; i < 10; ++i) {
    solver::VertexEvent event;
    event.digest = event.name = absl::StrCat("step ", i);
    event.started = ScenarioStart();
    if (i != 2) event.completed = ScenarioStart();
    batch.vertexes.push_back(event);
  }
  display->Update(batch);
  Terminal screen(6, 40);
  screen.Write(output.text);
  EXPECT_THAT(screen.Lines(), ElementsAre(HasSubstr("(9/10)"), HasSubstr("step 2"), HasSubstr("step 7"), HasSubstr("step 8"), HasSubstr("step 9")));
}

TEST(LiveDisplay, FeedsFromManyThreadsAndFinishesOnce) {
  StringOutput output;
  LiveDisplay display(NewDisplay(Mode::kPlain, &output, &Clock::System()), absl::Milliseconds(1));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&display, i] {
      solver::VertexEvent event;
      event.digest = event.name = absl::StrCat("step", i);
      event.started = event.completed = ScenarioStart();
      Batch batch;
      batch.vertexes = {event};
      display.Update(batch);
    });
  }
  for (std::thread& thread : threads) thread.join();
  display.Finish();
  display.Finish();
  for (int i = 0; i < 4; ++i) EXPECT_THAT(output.text, HasSubstr(absl::StrCat(" step", i, "\n")));
}

TEST(MergeIntervals, JoinsWhatOverlapsOrTouches) {
  const auto time = [](int second) { return absl::FromUnixSeconds(second); };
  const auto closed = [&](int start, int stop) { return Interval{time(start), time(stop)}; };
  const auto open = [&](int start) { return Interval{time(start), std::nullopt}; };
  EXPECT_THAT(MergeIntervals({}), ElementsAre());
  EXPECT_THAT(MergeIntervals({closed(4, 6), closed(0, 2), closed(2, 4), closed(8, 10)}), ElementsAre(closed(0, 6), closed(8, 10)));
  EXPECT_THAT(MergeIntervals({closed(0, 10), closed(1, 2)}), ElementsAre(closed(0, 10)));
  EXPECT_THAT(MergeIntervals({closed(0, 5), open(4), closed(7, 8)}), ElementsAre(open(0)));
  EXPECT_THAT(MergeIntervals({closed(0, 5), open(6), closed(7, 8)}), ElementsAre(closed(0, 5), open(6)));
}

TEST(Terminal, FollowsTheCursor) {
  Terminal terminal(3, 10);
  terminal.Write("one\ntwo\rT\n\x1b[31mred\x1b[0m\x1b]0;title\x07!\n");
  EXPECT_THAT(terminal.Lines(), ElementsAre("one", "Two", "red!"));
  terminal.Write("0123456789ab");
  EXPECT_THAT(terminal.Lines(), ElementsAre("red!", "0123456789", "ab"));
  terminal.Write("\x1b[2A\x1b[2Kup\x1b[1B\x1b[1G\x1b[K\xC3");
  terminal.Write(
      "\xA4"
      "b\b\bc");
  EXPECT_THAT(terminal.Lines(), ElementsAre("  up", "cb", "ab"));
  terminal.Resize(1, 3);
  EXPECT_THAT(terminal.Lines(), ElementsAre("  up"));
}

TEST(Terminal, SurvivesNonsense) {
  Terminal terminal(2, 6);
  terminal.Write(
      "\x1b[999999999999;5H\x1b[-3A\x1b[?25l\x1b[;;H\x1b[99D\xff\xfe\x1b[5u\x1b"
      "8x");
  EXPECT_FALSE(terminal.Lines().empty());
}

TEST(Text, CountsColumns) {
  EXPECT_EQ(ColumnsOf("a\xC3\xA4\xE6\xBC\xA2"
                      "e\xCC\x81"),
            5);
  EXPECT_EQ(CutToColumns("a\xE6\xBC\xA2\xE5\xAD\x97", 4), "a\xE6\xBC\xA2");
  EXPECT_EQ(Align("a", "b", 5), "a   b");
  EXPECT_EQ(OneLine("a\n\tb\x1b"), "a  b ");
}

TEST(Text, FormatsBytes) {
  EXPECT_EQ(FormatBytes(532), "532B");
  EXPECT_EQ(FormatBytes(1000), "1.00kB");
  EXPECT_EQ(FormatBytes(2'812'345), "2.81MB");
}

TEST(Options, ComeFromTheEnvironment) {
  const std::map<std::string, std::string> variables = {{"BUILDKIT_COLORS", "run=green:error=255,0,0:cancel=nonsense:x"},
                                                        {"BUILDKIT_TTY_LOG_LINES", "12"},
                                                        {"PROGRESS_NO_TRUNC", "0"},
                                                        {"TTY_DISPLAY_RATE", "5"}};
  const auto get = [&](const char* name) { return variables.contains(name) ? variables.at(name).c_str() : nullptr; };
  const Options options = OptionsFromEnvironment(get);
  EXPECT_EQ(options.colors.run, "\x1b[32m");
  EXPECT_EQ(options.colors.error, "\x1b[38;5;196m");
  EXPECT_EQ(options.colors.cancel, Colors().cancel);
  EXPECT_EQ(options.log_lines, 12);
  EXPECT_EQ(options.min_interval, absl::Milliseconds(5));
  EXPECT_TRUE(options.truncate_names);
  EXPECT_EQ(OptionsFromEnvironment([](const char*) { return "1"; }).colors.run, "");
}

TEST(ParseMode, KnowsTheModes) {
  EXPECT_EQ(*ParseMode(""), Mode::kAuto);
  EXPECT_EQ(*ParseMode("rawjson"), Mode::kRawJson);
  EXPECT_EQ(ParseMode("loud").status().message(), "invalid progress mode loud");
}

}  // namespace
}  // namespace cachalot::client::progress
