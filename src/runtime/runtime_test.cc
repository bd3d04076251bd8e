#include "runtime/runtime.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "os/cgroup.h"
#include "runtime/busybox_testing.h"

namespace cachalot::runtime {
namespace {

const ::testing::Environment* const kPrivateMounts = ::testing::AddGlobalTestEnvironment(new PrivateMounts);

class RuntimeTest : public BusyboxTest {
 protected:
  // Nothing of any container is left: no bundle, no state, no control group.
  void ExpectNothingLeft() {
    for (const char* name : {"state/run/containers", "state/run/state", "state/cgroups"}) {
      EXPECT_TRUE(os::ListDirectory(scratch_ / name)->empty()) << name;
    }
  }
};

TEST_F(RuntimeTest, ReportsExitCodesAndStreams) {
  Outcome outcome = Run(Shell("echo to out; echo to err >&2; exit 3"));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.status();
  EXPECT_EQ(outcome.status->code, 3);
  EXPECT_EQ(outcome.out, "to out\n");
  EXPECT_EQ(outcome.err, "to err\n");
  EXPECT_EQ(Run(Spec({"true"})).status->code, 0);
  EXPECT_GT(Run(Shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")).status->usage.cpu_user_us, 0);
  ExpectNothingLeft();
}

TEST_F(RuntimeTest, BelievesNoGarbageThatNamesAControlGroup) {
  const std::string groups = scratch_ / "state/cgroups/";
  ASSERT_TRUE(os::MakeDirectories(groups).ok());
  for (const std::string& path : {std::string(40, '\0'), std::string("/buildkit/\0left", 15), std::string("/"), std::string("/somebody/elses")}) {
    ASSERT_TRUE(os::WriteFileAtomic(groups + "left", path).ok());
    ASSERT_NO_FATAL_FAILURE(MakeRuntime()) << "it may not walk, and kill, through the groups of others";
    EXPECT_TRUE(os::ListDirectory(groups)->empty());
  }
}

TEST_F(RuntimeTest, ReportsSignals) {
  // The first process of a PID namespace is not killed by its own signals: a child is.
  EXPECT_EQ(Run(Shell("sh -c 'kill -9 $$'; exit $?")).status->code, 137);
}

TEST_F(RuntimeTest, SignalsTheFirstProcess) {
  Pipe out;
  absl::StatusOr<std::unique_ptr<Container>> container =
      runtime_->Start(Shell("trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done"), {UniqueFd(), std::move(out.write), UniqueFd()});
  ASSERT_TRUE(container.ok()) << container.status();
  ASSERT_TRUE(Ready(out.read.get()));
  ASSERT_TRUE((*container)->init().Signal(SIGTERM).ok());
  EXPECT_EQ((*container)->init().Wait({})->code, 9);
  EXPECT_TRUE((*container)->init().Signal(SIGTERM).ok());
  container->reset();
  ExpectNothingLeft();
}

TEST_F(RuntimeTest, SaysWhenTheProgramCannotBeExecuted) {
  Outcome missing = Run(Spec({"no-such-program"}));
  ASSERT_TRUE(missing.status.ok()) << missing.status.status();
  EXPECT_EQ(missing.status->code, 127);
  EXPECT_TRUE(absl::StrContains(missing.err, "no-such-program")) << missing.err;
  EXPECT_TRUE(absl::StrContains(missing.err, "not found")) << missing.err;
  EXPECT_EQ(missing.out, "");

  Outcome missing_path = Run(Spec({"/bin/none"}));
  EXPECT_EQ(missing_path.status->code, 127) << missing_path.err;

  ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "root/bin/plain", "text", 0644).ok());
  Outcome plain = Run(Spec({"/bin/plain"}));
  ASSERT_TRUE(plain.status.ok()) << plain.status.status();
  EXPECT_EQ(plain.status->code, 126) << plain.err;

  ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "root/bin/script", "#!/no/interpreter\n", 0755).ok());
  Outcome script = Run(Spec({"/bin/script"}));
  EXPECT_EQ(script.status->code, 1);
  EXPECT_TRUE(absl::StrContains(script.err, "`/bin/script`: No such file or directory\n")) << script.err;
  ExpectNothingLeft();
}

TEST_F(RuntimeTest, FailsClearlyWhenTheContainerCannotBeMade) {
  ContainerSpec spec = Spec({"true"});
  spec.mounts.push_back({"/mnt", {"bind", scratch_ / "no-such-source", {"rbind"}}, false});
  Outcome outcome = Run(spec);
  ASSERT_FALSE(outcome.status.ok());
  EXPECT_TRUE(absl::StrContains(outcome.status.status().message(), "no-such-source")) << outcome.status.status();
  EXPECT_FALSE(os::Lstat(scratch_ / "root/mnt").ok());
  ContainerSpec bad = Spec({"true"});
  bad.id = "../x";
  EXPECT_FALSE(runtime_->Run(bad, {}, {}).ok());
  bad = Spec({});
  EXPECT_FALSE(runtime_->Run(bad, {}, {}).ok());
  ExpectNothingLeft();
}

TEST_F(RuntimeTest, IsConfined) {
  // The filter is on, the capabilities are Docker's, sensitive files are masked, the first process is number 1.
  EXPECT_EQ(Run(Shell("grep -E '^(Seccomp|CapBnd|CapEff|NoNewPrivs):' /proc/self/status; echo $$")).out,
            "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\n1\n");
  Outcome masked = Run(Shell("cat /proc/keys; echo x > /proc/sys/kernel/hostname; echo x > /sys/fs/cgroup/x; mknod /tmp/d b 8 0; cat /tmp/d"));
  EXPECT_EQ(masked.out, "");
  EXPECT_NE(masked.status->code, 0);
  // 32-bit and 64-bit calls that create namespaces are refused.
  EXPECT_NE(Run(Shell("busybox unshare -U true")).status->code, 0);
  ContainerSpec privileged =
      Shell("grep -E '^(Seccomp|CapEff):' /proc/self/status; ls /dev/kmsg; echo ok > /proc/sys/kernel/domainname && echo wrote");
  privileged.privileged = true;
  Outcome outcome = Run(privileged);
  EXPECT_TRUE(absl::StrContains(outcome.out, "Seccomp:\t0\n")) << outcome.out << outcome.err;
  EXPECT_TRUE(absl::StrContains(outcome.out, "/dev/kmsg\nwrote\n")) << outcome.out << outcome.err;
}

TEST_F(RuntimeTest, LooksUsersUp) {
  auto id = [&](const std::string& user) {
    ContainerSpec spec = Shell("id -u; id -g; id -G");
    spec.process.user = user;
    Outcome outcome = Run(spec);
    return outcome.status.ok() ? outcome.out : std::string(outcome.status.status().message());
  };
  EXPECT_EQ(id(""), "0\n0\n0\n");
  EXPECT_EQ(id("alice"), "1000\n1001\n1001 10 29\n");
  EXPECT_EQ(id("1000"), "1000\n1001\n1001 10 29\n");
  EXPECT_EQ(id("alice:audio"), "1000\n29\n29\n");
  EXPECT_EQ(id("7:8"), "7\n8\n8\n");
  EXPECT_EQ(id("nobody"), "unable to find user nobody: no matching entries in passwd file");
  EXPECT_EQ(id("broken"), "unable to find user broken: no matching entries in passwd file");
  EXPECT_EQ(id("alice:none"), "unable to find group none: no matching entries in group file");
  EXPECT_EQ(id("99999999999"), "uids and gids must be in range 0-2147483647");
}

TEST_F(RuntimeTest, EverybodyHasAHome) {
  auto home = [&](const std::string& user, std::vector<std::string> environment = {}) {
    ContainerSpec spec = Shell("echo $HOME");
    spec.process.user = user;
    spec.process.env.insert(spec.process.env.end(), environment.begin(), environment.end());
    return Run(spec).out;
  };
  EXPECT_EQ(home("12:34"), "/\n");
  EXPECT_EQ(home("alice"), "/home/alice\n");
  EXPECT_EQ(home("alice", {"HOME=/elsewhere"}), "/elsewhere\n");
}

TEST_F(RuntimeTest, MakesTheWorkingDirectory) {
  ContainerSpec spec = Shell("pwd; id -u");
  spec.process.cwd = "/work/deep";
  spec.process.user = "alice";
  EXPECT_EQ(Run(spec).out, "/work/deep\n1000\n");
  EXPECT_EQ(os::Lstat(scratch_ / "root/work")->st_uid, 1000u);
}

TEST_F(RuntimeTest, GivesHostsAndResolvConfAndTakesTheStubsAway) {
  ASSERT_EQ(::symlink("/run/resolv.conf", (scratch_ / "root/etc/resolv.conf").c_str()), 0);
  struct stat before = os::Lstat(scratch_ / "root/etc").value();
  ContainerSpec spec = Shell("cat /etc/hosts; hostname; echo x >> /etc/hosts; cat /etc/resolv.conf >/dev/null && echo read; ls /data/in");
  spec.extra_hosts = {{"db", "10.0.0.7"}};
  spec.hostname = "builder";
  spec.remove_stub_parents = true;
  ASSERT_TRUE(os::MakeDirectories(scratch_ / "source").ok());
  ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "source/file", "").ok());
  spec.mounts.push_back({"/data/in", {"bind", scratch_ / "source", {"rbind"}}, true});
  Outcome outcome = Run(spec);
  EXPECT_EQ(outcome.out, "127.0.0.1\tlocalhost builder\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.7\tdb\nbuilder\nread\nfile\n");
  EXPECT_TRUE(absl::StrContains(outcome.err, "Read-only file system")) << outcome.err;
  for (const char* stub : {"root/etc/hosts", "root/run/resolv.conf", "root/data"}) EXPECT_FALSE(os::Lstat(scratch_ / stub).ok()) << stub;
  struct stat after = os::Lstat(scratch_ / "root/etc").value();
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
  EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
  EXPECT_EQ(Run(Shell("cat /etc/hosts")).out, "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n");
}

TEST_F(RuntimeTest, MountPointsAreOrdinaryDirectories) {
  for (const char* name : {"proc", "dev", "sys"}) ASSERT_EQ(::rmdir((scratch_ / "root/" + name).c_str()), 0);
  for (const char* name : {"cache", "other"}) ASSERT_TRUE(os::MakeDirectories(scratch_ / name).ok());
  ContainerSpec spec = Shell("stat -c '%n %a %u' /new /new/deep /data /data/in");
  spec.remove_stub_parents = true;
  spec.mounts.push_back({"/new/deep/point", {"tmpfs", "tmpfs", {}}, false});
  spec.mounts.push_back({"/data", {"bind", scratch_ / "cache", {"rbind"}}, false});
  spec.mounts.push_back({"/data/in/side", {"bind", scratch_ / "other", {"rbind"}}, false});
  Outcome outcome = Run(spec);
  EXPECT_EQ(outcome.out, "/new 755 0\n/new/deep 755 0\n/data 755 0\n/data/in 755 0\n") << outcome.err << outcome.status.status();
  for (const char* name : {"proc", "dev", "sys"}) EXPECT_EQ(os::Lstat(scratch_ / "root/" + name)->st_mode & 07777, 0755u) << name;
  for (const char* stub : {"root/new", "root/data"}) EXPECT_FALSE(os::Lstat(scratch_ / stub).ok()) << stub;
  // A tree that is only read gets no mount points.
  spec.mounts[1].readonly = true;
  spec.mounts[2].dest = "/data/fresh";
  EXPECT_EQ(Run(spec).status.status().message(), "mount point /data/fresh does not exist in what is mounted read-only at /data");
  EXPECT_FALSE(os::Lstat(scratch_ / "cache/fresh").ok());
}

TEST_F(RuntimeTest, PointsThatShareANewParentLeaveNothing) {
  ASSERT_TRUE(os::RemoveTree(scratch_ / "root/etc").ok());  // the parent of hosts and resolv.conf
  ContainerSpec spec = Spec({"true"});
  spec.remove_stub_parents = true;
  for (const char* point : {"/p/a", "/p/b/c", "/p/b"}) spec.mounts.push_back({point, {"tmpfs", "tmpfs", {}}, false});
  const Outcome outcome = Run(spec);
  EXPECT_EQ(outcome.status->code, 0) << outcome.err << outcome.status.status();
  for (const char* stub : {"root/etc", "root/p"}) EXPECT_FALSE(os::Lstat(scratch_ / stub).ok()) << stub;
}

TEST_F(RuntimeTest, TmpfsTakesTheModeOfTheDirectoryThatItCovers) {
  ASSERT_TRUE(os::MakeDirectories(scratch_ / "root/there", 0750).ok());
  ContainerSpec spec = Shell("stat -c %a /there /fresh /named");
  spec.mounts.push_back({"/there", {"tmpfs", "tmpfs", {"nosuid"}}, false});
  spec.mounts.push_back({"/fresh", {"tmpfs", "tmpfs", {}}, false});
  spec.mounts.push_back({"/named", {"tmpfs", "tmpfs", {"mode=711"}}, false});
  const Outcome outcome = Run(spec);
  EXPECT_EQ(outcome.out, "750\n1777\n711\n") << outcome.err << outcome.status.status();
}

TEST_F(RuntimeTest, KeepsWhatTheStepItselfLeft) {
  // A file at a mount point that existed, and one that the step made elsewhere.
  ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "root/etc/hosts", "").ok());
  EXPECT_EQ(Run(Shell("echo made > /made")).status->code, 0);
  EXPECT_TRUE(os::Lstat(scratch_ / "root/etc/hosts").ok());
  EXPECT_EQ(os::ReadFile(scratch_ / "root/made", 100).value(), "made\n");
}

TEST_F(RuntimeTest, MountsInOrderAndReadOnly) {
  ContainerSpec spec =
      Shell("echo x > /file; echo x > /scratch/file && echo wrote; grep -c ' /dev/shm ' /proc/mounts; grep ' /dev/shm ' /proc/mounts");
  spec.readonly_rootfs = true;
  ASSERT_TRUE(os::MakeDirectories(scratch_ / "root/scratch").ok());
  for (const char* name : {"etc/hosts", "etc/resolv.conf"}) ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "root/" + name, "").ok());
  spec.mounts.push_back({"/scratch", {"tmpfs", "tmpfs", {"size=1m"}}, false});
  spec.mounts.push_back({"/dev/shm", {"tmpfs", "shm", {"size=128k"}}, false});
  Outcome outcome = Run(spec);
  EXPECT_TRUE(absl::StartsWith(outcome.out, "wrote\n1\n")) << outcome.out << outcome.err << outcome.status.status();
  EXPECT_TRUE(absl::StrContains(outcome.out, "size=128k")) << outcome.out;
  EXPECT_FALSE(os::Lstat(scratch_ / "root/file").ok());
}

TEST_F(RuntimeTest, MountsLongOverlays) {
  std::string lower;
  for (int i = 0; i < 100; ++i) {
    std::string layer = scratch_ / absl::StrCat("layers/", std::string(40, 'l'), i);
    ASSERT_TRUE(os::MakeDirectories(absl::StrCat(layer, "/entry", i)).ok());
    absl::StrAppend(&lower, i > 0 ? ":" : "", layer);
  }
  ContainerSpec spec = Shell("ls /mnt | grep -c entry");
  spec.mounts.push_back({"/mnt", {"overlay", "overlay", {"lowerdir=" + lower}}, true});
  EXPECT_EQ(Run(spec).out, "100\n");
  ExpectNothingLeft();
}

TEST_F(RuntimeTest, SeparatesNetworks) {
  ContainerSpec spec = Shell("ls /sys/class/net");
  spec.network = Network::kNone;
  EXPECT_EQ(Run(spec).out, "lo\n");
  spec = Shell("ls -l /proc/self/ns/net");
  spec.network = Network::kHost;
  EXPECT_TRUE(absl::StrContains(Run(spec).out, os::ReadLink(AT_FDCWD, "/proc/self/ns/net").value()));
}

TEST_F(RuntimeTest, SetsLimits) {
  ContainerSpec spec = Shell("ulimit -n; ulimit -H -n; ulimit -c");
  spec.process.rlimits = {{"nofile", 100, 200}, {"core", -1, -1}};
  EXPECT_EQ(Run(spec).out, "100\n200\nunlimited\n");
}

TEST_F(RuntimeTest, CancellationKillsEverything) {
  Pipe alive;
  CancelSource source;
  absl::StatusOr<ExitStatus> status;
  std::thread run([&] {
    status = runtime_->Run(Shell("trap '' TERM; sleep 1000 & setsid sleep 1000 & echo ready; wait"), {UniqueFd(), std::move(alive.write), UniqueFd()},
                           source.token());
  });
  ASSERT_TRUE(Ready(alive.read.get()));
  source.Cancel();
  run.join();
  EXPECT_EQ(status.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(os::ReadAll(alive.read.get(), 100, "pipe").value(), "ready\n");  // to its end: nobody holds the other one
  ExpectNothingLeft();
}

TEST_F(RuntimeTest, CancellationWorksAtAnyMoment) {
  for (int delay_us = 0; delay_us < 12000; delay_us += 1000) {
    CancelSource source;
    std::thread cancel([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(delay_us));  // the moments are the test
      source.Cancel();
    });
    absl::StatusOr<ExitStatus> status = runtime_->Run(Spec({"sleep", "1000"}), {}, source.token());
    cancel.join();
    EXPECT_EQ(status.status().code(), absl::StatusCode::kCancelled) << status.status();
  }
  ExpectNothingLeft();
}

TEST_F(RuntimeTest, DestructionKills) {
  Pipe out;
  {
    absl::StatusOr<std::unique_ptr<Container>> container =
        runtime_->Start(Shell("echo ready; sleep 1000"), {UniqueFd(), std::move(out.write), UniqueFd()});
    ASSERT_TRUE(container.ok());
    ASSERT_TRUE(Ready(out.read.get()));
  }
  EXPECT_EQ(os::ReadAll(out.read.get(), 100, "pipe").value(), "ready\n");
  ExpectNothingLeft();
}

TEST_F(RuntimeTest, StartsAnewOverLeftOvers) {
  runtime_.reset();
  ASSERT_TRUE(os::MakeDirectories(scratch_ / "state/run/containers/old/mount0").ok());
  ASSERT_TRUE(os::MountAt({"tmpfs", "tmpfs", {}}, scratch_ / "state/run/containers/old/mount0").ok());
  ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "state/cgroups/old", "/buildkit/old").ok());
  // The places of an earlier version.
  ASSERT_TRUE(os::MakeDirectories(scratch_ / "state/containers/old").ok());
  ASSERT_TRUE(os::MakeDirectories(scratch_ / "state/state/old").ok());
  ASSERT_NO_FATAL_FAILURE(MakeRuntime());
  EXPECT_FALSE(os::Lstat(scratch_ / "state/containers").ok());
  EXPECT_FALSE(os::Lstat(scratch_ / "state/state").ok());
  ExpectNothingLeft();
  EXPECT_EQ(Run(Spec({"true"})).status->code, 0);
}

TEST_F(RuntimeTest, RunsAtOnce) {
  // One root for all: none may take away the mount points of another.
  for (const char* name : {"etc/hosts", "etc/resolv.conf"}) ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "root/" + name, "").ok());
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 3; ++round) EXPECT_EQ(runtime_->Run(Shell(absl::StrCat("exit ", i)), {}, {})->code, i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  ExpectNothingLeft();
}

// A killed process takes its containers along, and leaves nothing mounted or running.
TEST_F(RuntimeTest, ContainersDieWithTheDaemon) {
  runtime_.reset();
  Pipe alive;
  pid_t daemon = ::fork();
  if (daemon == 0) {
    Runtime::Config config;
    config.state_dir = scratch_ / "state";
    absl::StatusOr<std::unique_ptr<Runtime>> runtime = Runtime::Create(config);
    if (!runtime.ok()) ::_exit(1);
    absl::StatusOr<std::unique_ptr<Container>> container =
        (*runtime)->Start(Shell("setsid sleep 1000 & echo ready; wait"), {UniqueFd(), std::move(alive.write), UniqueFd()});
    ::pause();
  }
  alive.write.reset();
  ASSERT_TRUE(Ready(alive.read.get()));
  ::kill(daemon, SIGKILL);
  ASSERT_EQ(::waitpid(daemon, nullptr, 0), daemon);
  // Ends when nobody holds the other end any more.
  EXPECT_EQ(os::ReadAll(alive.read.get(), 100, "pipe").value(), "ready\n");
  EXPECT_FALSE(os::ListDirectory(scratch_ / "state/cgroups")->empty());
  ASSERT_NO_FATAL_FAILURE(MakeRuntime());
  ExpectNothingLeft();
}

TEST_F(RuntimeTest, StepsAreFast) {
  constexpr int kSteps = 50;
  ASSERT_TRUE(runtime_->Run(Spec({"true"}), {}, {}).ok());
  std::vector<double> times;
  for (int i = 0; i < kSteps; ++i) {
    auto begin = std::chrono::steady_clock::now();
    ASSERT_EQ(runtime_->Run(Spec({"/bin/true"}), {}, {})->code, 0);
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(times.begin(), times.end());
  std::printf("a step of /bin/true: least %.1f ms, median %.1f ms, most %.1f ms\n", times.front(), times[kSteps / 2], times.back());
  EXPECT_LT(times.front(), 100);
}

}  // namespace
}  // namespace cachalot::runtime
