#include "os/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "os/file.h"
#include "os/mount.h"
#include "os/scratch_testing.h"

namespace cachalot::os {
namespace {

// As the daemon does.
class PrivateMounts : public ::testing::Environment {
 public:
  void SetUp() override {
    if (!CanMount()) return;
    ASSERT_TRUE(EnterPrivateMountNamespace().ok());
  }
};
const ::testing::Environment* const kPrivateMounts = ::testing::AddGlobalTestEnvironment(new PrivateMounts);

struct Pipe {
  Pipe() {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) != 0) ::abort();
    read.reset(fds[0]);
    write.reset(fds[1]);
  }
  UniqueFd read, write;
};

Command Shell(const std::string& script) { return Command{.argv = {"sh", "-c", script}}; }

class SpawnerTest : public ::testing::TestWithParam<Containment> {
 protected:
  void SetUp() override {
    if (GetParam() == Containment::kPidNamespace && !CanMount()) GTEST_SKIP() << "needs root";
    absl::StatusOr<std::unique_ptr<Spawner>> spawner = Spawner::Create(GetParam());
    ASSERT_TRUE(spawner.ok()) << spawner.status();
    spawner_ = *std::move(spawner);
  }
  // Runs to the end and returns what it printed.
  std::string Output(Command command) {
    Pipe pipe;
    command.stdout_fd = pipe.write.get();
    absl::StatusOr<ChildProcess> child = spawner_->Spawn(command);
    EXPECT_TRUE(child.ok()) << child.status();
    if (!child.ok()) return "";
    pipe.write.reset();
    std::string output = ReadAll(pipe.read.get(), 1 << 20, "pipe").value();
    EXPECT_TRUE(child->Wait().ok());
    return output;
  }

  std::unique_ptr<Spawner> spawner_;
};

TEST_P(SpawnerTest, ReportsExitCodesAndSignals) {
  EXPECT_EQ(spawner_->Spawn(Shell("exit 7"))->Wait()->code, 7);
  ProcessExit killed = spawner_->Spawn(Shell("kill -TERM $$"))->Wait().value();
  EXPECT_EQ(killed.code, 143);
  EXPECT_EQ(killed.signal, SIGTERM);
  ProcessExit busy = spawner_->Spawn(Shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"))->Wait().value();
  EXPECT_GT(busy.cpu_user_us + busy.cpu_system_us, 0);
  EXPECT_GT(busy.memory_peak_bytes, 100000);
}

TEST_P(SpawnerTest, PassesDescriptorsEnvironmentAndDirectory) {
  Scratch scratch;
  ASSERT_TRUE(WriteFileAtomic(scratch / "in", "input").ok());
  UniqueFd in = Open(scratch / "in", O_RDONLY).value();
  UniqueFd leaked(::open("/dev/null", O_RDONLY));  // deliberately not close-on-exec
  ASSERT_EQ(::fcntl(leaked.get(), F_SETFD, 0), 0);
  Command command = Shell("cat <&4; echo \" $NAME $HOME\"; pwd; ls /proc/self/fd | wc -l");
  command.env = std::vector<std::string>{"NAME=value", "PATH=/usr/bin:/bin"};
  command.cwd = "/usr";
  command.extra_fds = {-1, in.get()};
  // 0, 1, 2, 3, 4 and the one that lists.
  EXPECT_EQ(Output(command), "input value \n/usr\n6\n");
}

TEST_P(SpawnerTest, DefaultSignalsReachTheProgram) {
  ASSERT_NE(::signal(SIGPIPE, SIG_IGN), SIG_ERR);
  // One that the C library does not let programs touch: it can only be inherited.
  const unsigned long ignored[4] = {1}, defaulted[4] = {};
  ASSERT_EQ(::syscall(SYS_rt_sigaction, 32, ignored, nullptr, 8), 0);
  std::string output = Output(Shell("grep -E 'SigIgn|SigBlk' /proc/self/status"));
  ::syscall(SYS_rt_sigaction, 32, defaulted, nullptr, 8);
  ::signal(SIGPIPE, SIG_DFL);
  EXPECT_EQ(output, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_P(SpawnerTest, SaysWhatCannotStart) {
  absl::Status missing = spawner_->Spawn(Command{.argv = {"cachalot-no-such-program"}}).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(missing.message(), "exec: \"cachalot-no-such-program\": executable file not found in $PATH");
  EXPECT_TRUE(absl::IsNotFound(spawner_->Spawn(Command{.argv = {"/no/such"}}).status()));
  Command nowhere = Shell("true");
  nowhere.cwd = "/no/such";
  EXPECT_TRUE(absl::StrContains(spawner_->Spawn(nowhere).status().message(), "chdir"));
}

TEST_P(SpawnerTest, CancelledWaitLeavesTheChildToKill) {
  CancelSource source;
  ChildProcess child = spawner_->Spawn(Command{.argv = {"sleep", "1000"}}).value();
  std::thread canceller([&] { source.Cancel(); });
  EXPECT_EQ(child.Wait(source.token()).status().code(), absl::StatusCode::kCancelled);
  canceller.join();
  EXPECT_FALSE(child.EndsWithin(0));
  child.Kill();
  EXPECT_EQ(child.Wait()->code, 137);
  EXPECT_EQ(child.Wait()->code, 137);
  EXPECT_TRUE(child.Signal(SIGTERM).ok());
}

TEST_P(SpawnerTest, SpawnsFromManyThreads) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 5; ++round) EXPECT_EQ(spawner_->Spawn(Shell(absl::StrCat("exit ", i)))->Wait()->code, i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(SpawnerTest, FindsDescendants) {
  Pipe pipe;
  Command command = Shell("sh -c 'sleep 1000 & echo x; wait' & wait");
  command.stdout_fd = pipe.write.get();
  ChildProcess child = spawner_->Spawn(command).value();
  char byte;
  ASSERT_EQ(::read(pipe.read.get(), &byte, 1), 1);
  EXPECT_EQ(Descendants(child.pid()).size(), 2u);
  for (pid_t pid : Descendants(child.pid())) ::kill(pid, SIGKILL);
  EXPECT_TRUE(child.Wait().ok());
}

INSTANTIATE_TEST_SUITE_P(Containments, SpawnerTest, ::testing::Values(Containment::kParentDeath, Containment::kPidNamespace),
                         [](const auto& info) { return info.param == Containment::kParentDeath ? "ParentDeath" : "PidNamespace"; });

TEST(PidNamespaceTest, ProcShowsTheNamespaceAndTheHostDoesNot) {
  if (!CanMount()) GTEST_SKIP() << "needs root";
  std::unique_ptr<Spawner> spawner = Spawner::Create(Containment::kPidNamespace).value();
  Pipe pipe;
  Command command = Shell("read line < /proc/1/cmdline; echo $line; echo $$");
  command.argv[2] = "tr '\\0' ' ' < /proc/1/cmdline; echo; readlink /proc/self | wc -l";
  command.stdout_fd = pipe.write.get();
  ChildProcess child = spawner->Spawn(command).value();
  pipe.write.reset();
  EXPECT_EQ(ReadAll(pipe.read.get(), 1000, "pipe").value(), "sleep infinity \n1\n");
  // The namespace's /proc is not seen here.
  EXPECT_EQ(ReadLink(AT_FDCWD, "/proc/self").value(), absl::StrCat(::getpid()));
}

// Mounts made and unmounted later are seen by, and not kept alive by, what runs in the namespace.
TEST(PidNamespaceTest, MountsArePropagated) {
  if (!CanMount()) GTEST_SKIP() << "needs root";
  Scratch scratch;
  ASSERT_TRUE(MakeDirectories(scratch / "point").ok());
  std::unique_ptr<Spawner> spawner = Spawner::Create(Containment::kPidNamespace).value();
  ASSERT_TRUE(MountAt({"tmpfs", "tmpfs", {}}, scratch / "point").ok());
  ASSERT_TRUE(WriteFileAtomic(scratch / "point/file", "").ok());
  Pipe go, ready;
  Command command = Shell(absl::StrCat("test -e ", scratch / "point/file", " && echo seen >&3; read line <&4; test ! -e ", scratch / "point/file"));
  command.extra_fds = {ready.write.get(), go.read.get()};
  ChildProcess child = spawner->Spawn(command).value();
  ready.write.reset();
  char byte;
  ASSERT_EQ(::read(ready.read.get(), &byte, 1), 1);
  ASSERT_TRUE(Unmount(scratch / "point").ok());
  ASSERT_TRUE(WriteAll(go.write.get(), "\n", "pipe").ok());
  EXPECT_EQ(child.Wait()->code, 0);
}

// The whole point: a process that is killed takes along what it started, grandchildren that have left their session included.
TEST(PidNamespaceTest, AllDieWithTheProcess) {
  if (!CanMount()) GTEST_SKIP() << "needs root";
  Pipe alive, started;
  pid_t parent = ::fork();
  if (parent == 0) {
    absl::StatusOr<std::unique_ptr<Spawner>> spawner = Spawner::Create(Containment::kPidNamespace);
    if (!spawner.ok()) ::_exit(1);
    Command command = Shell("setsid sleep 1000 & echo started >&3; wait");
    command.extra_fds = {started.write.get(), alive.write.get()};
    absl::StatusOr<ChildProcess> child = (*spawner)->Spawn(command);
    ::pause();
  }
  alive.write.reset();
  started.write.reset();
  char byte;
  ASSERT_EQ(::read(started.read.get(), &byte, 1), 1);
  ::kill(parent, SIGKILL);
  ASSERT_EQ(::waitpid(parent, nullptr, 0), parent);
  // The pipe ends when the last holder of its other end is gone.
  struct pollfd event = {alive.read.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&event, 1, 10000), 1);
  EXPECT_EQ(::read(alive.read.get(), &byte, 1), 0);
}

}  // namespace
}  // namespace cachalot::os
