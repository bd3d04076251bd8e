// Terminals and added processes.
#include <signal.h>

#include "absl/strings/match.h"
#include "runtime/busybox_testing.h"

namespace cachalot::runtime {
namespace {

class InteractiveTest : public BusyboxTest {
 protected:
  // Reads until `text` has come; returns all that came.
  static std::string ReadUntil(int fd, absl::string_view text) {
    std::string got;
    while (!absl::StrContains(got, text) && Ready(fd)) {
      char buffer[1024];
      ssize_t n = ::read(fd, buffer, sizeof buffer);
      if (n <= 0) break;
      got.append(buffer, static_cast<std::size_t>(n));
    }
    return got;
  }

  std::unique_ptr<Container> StartSleeping() {
    absl::StatusOr<std::unique_ptr<Container>> container = runtime_->Start(Shell("trap 'exit 0' TERM; sleep 1000 & wait"), {});
    EXPECT_TRUE(container.ok()) << container.status();
    return container.ok() ? *std::move(container) : nullptr;
  }

  Outcome Exec(Container& container, const ProcessSpec& process) {
    Pipe out, err;
    Outcome outcome;
    absl::StatusOr<std::unique_ptr<Process>> running = container.Exec(process, {UniqueFd(), std::move(out.write), std::move(err.write)}, {});
    if (!running.ok()) return Outcome{running.status(), "", ""};
    outcome.status = (*running)->Wait({});
    outcome.out = os::ReadAll(out.read.get(), 1 << 20, "out").value_or("");
    outcome.err = os::ReadAll(err.read.get(), 1 << 20, "err").value_or("");
    return outcome;
  }
};

TEST_F(InteractiveTest, TerminalJoinsTheStreams) {
  Pipe in, out;
  ContainerSpec spec = Shell("tty; stty size; echo to err >&2; read line; echo got $line; stty size; exit 4");
  spec.process.tty = true;
  absl::StatusOr<std::unique_ptr<Container>> container = runtime_->Start(spec, {std::move(in.read), std::move(out.write), UniqueFd()});
  ASSERT_TRUE(container.ok()) << container.status();
  Process& init = (*container)->init();
  ASSERT_TRUE(init.Resize(24, 81).ok());
  std::string first = ReadUntil(out.read.get(), "to err");
  EXPECT_TRUE(absl::StrContains(first, "/dev/")) << first;
  ASSERT_TRUE(init.Resize(50, 132).ok());
  ASSERT_TRUE(os::WriteAll(in.write.get(), "hello\n", "in").ok());
  EXPECT_EQ(init.Wait({})->code, 4);
  std::string rest = os::ReadAll(out.read.get(), 1 << 20, "out").value();
  EXPECT_TRUE(absl::StrContains(rest, "got hello\r\n50 132\r\n")) << rest;
}

TEST_F(InteractiveTest, TerminalPassesAllOutput) {
  Pipe out;
  ContainerSpec spec = Shell("i=0; while [ $i -lt 3000 ]; do echo line $i of the output; i=$((i+1)); done; echo the end");
  spec.process.tty = true;
  std::string all;
  std::thread read([&] { all = os::ReadAll(out.read.get(), 1 << 20, "out").value_or(""); });
  absl::StatusOr<ExitStatus> status = runtime_->Run(spec, {UniqueFd(), std::move(out.write), UniqueFd()}, {});
  read.join();
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_TRUE(absl::StrContains(all, "line 2999 of the output\r\nthe end\r\n"));
}

TEST_F(InteractiveTest, TerminalOfAFailedStartEnds) {
  ContainerSpec spec = Spec({"no-such-program"});
  spec.process.tty = true;
  Pipe out;
  std::string all;
  std::thread read([&] { all = os::ReadAll(out.read.get(), 1 << 20, "out").value_or(""); });
  absl::StatusOr<ExitStatus> status = runtime_->Run(spec, {UniqueFd(), std::move(out.write), UniqueFd()}, {});
  read.join();
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->code, 127);
  EXPECT_TRUE(absl::StrContains(all, "no-such-program")) << all;
}

TEST_F(InteractiveTest, AddsProcesses) {
  std::unique_ptr<Container> container = StartSleeping();
  ASSERT_NE(container, nullptr);
  ProcessSpec process;
  process.args = {"sh", "-c", "id -u; pwd; echo $NAME; echo err >&2; grep Seccomp: /proc/self/status; exit 5"};
  process.env = {"PATH=/bin", "NAME=value"};
  process.cwd = "/tmp";
  process.user = "alice";
  Outcome outcome = Exec(*container, process);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.status();
  EXPECT_EQ(outcome.status->code, 5);
  EXPECT_EQ(outcome.out, "1000\n/tmp\nvalue\nSeccomp:\t2\n");
  EXPECT_EQ(outcome.err, "err\n");

  process.args = {"no-such-program"};
  outcome = Exec(*container, process);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.status();
  EXPECT_EQ(outcome.status->code, 127);
  EXPECT_TRUE(absl::StrContains(outcome.err, "no-such-program")) << outcome.err;

  process = ProcessSpec();
  process.args = {"sh", "-c", "echo $PATH; id -u"};
  EXPECT_EQ(Exec(*container, process).out, "/bin\n0\n");
}

TEST_F(InteractiveTest, AddedProcessIsKilledAlone) {
  std::unique_ptr<Container> container = StartSleeping();
  ASSERT_NE(container, nullptr);
  Pipe out;
  ProcessSpec process;
  process.args = {"sh", "-c", "echo ready; sleep 1000 & wait"};
  absl::StatusOr<std::unique_ptr<Process>> added = container->Exec(process, {UniqueFd(), std::move(out.write), UniqueFd()}, {});
  ASSERT_TRUE(added.ok()) << added.status();
  ASSERT_TRUE(Ready(out.read.get()));
  CancelSource source;
  source.Cancel();
  EXPECT_EQ((*added)->Wait(source.token()).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(os::ReadAll(out.read.get(), 100, "pipe").value(), "ready\n");
  process.args = {"true"};
  EXPECT_EQ(Exec(*container, process).status->code, 0);
  EXPECT_TRUE(container->init().Signal(SIGTERM).ok());
  EXPECT_EQ(container->init().Wait({})->code, 0);
}

TEST_F(InteractiveTest, AddedProcessTakesSignalsOnceStarted) {
  std::unique_ptr<Container> container = StartSleeping();
  ASSERT_NE(container, nullptr);
  EXPECT_TRUE(container->init().AwaitStart({}).ok());
  ProcessSpec process;
  process.args = {"sleep", "1000"};
  absl::StatusOr<std::unique_ptr<Process>> added = container->Exec(process, {}, {});
  ASSERT_TRUE(added.ok()) << added.status();
  ASSERT_TRUE((*added)->AwaitStart({}).ok());
  EXPECT_TRUE((*added)->Signal(SIGTERM).ok());
  EXPECT_EQ((*added)->Wait({})->code, 128 + SIGTERM);
  EXPECT_EQ((*added)->AwaitStart({}).ok(), true);  // it has run
  process.args = {"no-such-program"};
  added = container->Exec(process, {}, {});
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_EQ((*added)->AwaitStart({}).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(InteractiveTest, AddedProcessMayHaveATerminal) {
  std::unique_ptr<Container> container = StartSleeping();
  ASSERT_NE(container, nullptr);
  Pipe in, out;
  ProcessSpec process;
  process.args = {"sh", "-c", "read line; echo got $line"};
  process.tty = true;
  absl::StatusOr<std::unique_ptr<Process>> added = container->Exec(process, {std::move(in.read), std::move(out.write), UniqueFd()}, {});
  ASSERT_TRUE(added.ok()) << added.status();
  ASSERT_TRUE(os::WriteAll(in.write.get(), "hello\n", "in").ok());
  EXPECT_TRUE(absl::StrContains(ReadUntil(out.read.get(), "got hello"), "got hello"));
  EXPECT_EQ((*added)->Wait({})->code, 0);
}

TEST_F(InteractiveTest, AddingToAStoppedContainerFails) {
  absl::StatusOr<std::unique_ptr<Container>> container = runtime_->Start(Spec({"true"}), {});
  ASSERT_TRUE(container.ok());
  EXPECT_EQ((*container)->init().Wait({})->code, 0);
  ProcessSpec process;
  process.args = {"true"};
  EXPECT_FALSE((*container)->Exec(process, {}, {}).ok());
}

}  // namespace
}  // namespace cachalot::runtime
