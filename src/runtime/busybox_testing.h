// A runtime and a small root file system for tests.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/random_id.h"
#include "os/file.h"
#include "os/mount.h"
#include "os/process.h"
#include "os/scratch_testing.h"
#include "runtime/runtime.h"

namespace cachalot::runtime {

// Enters the mount namespace that the daemon would live in, before any thread starts.
class PrivateMounts : public ::testing::Environment {
 public:
  void SetUp() override {
    if (::geteuid() != 0) return;
    ASSERT_TRUE(os::EnterPrivateMountNamespace().ok());
  }
};

struct Pipe {
  Pipe() {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) != 0) ::abort();
    read.reset(fds[0]);
    write.reset(fds[1]);
  }
  UniqueFd read, write;
};

// What a step printed and how it ended.
struct Outcome {
  absl::StatusOr<ExitStatus> status = absl::UnknownError("not run");
  std::string out, err;
};

class BusyboxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    if (!os::FindProgram("crun").ok()) GTEST_SKIP() << "needs crun";
    absl::StatusOr<std::string> busybox = os::FindProgram("busybox");
    if (!busybox.ok()) GTEST_SKIP() << "needs busybox-static";
    for (const char* name : {"bin", "etc", "tmp", "proc", "dev", "sys"}) ASSERT_TRUE(os::MakeDirectories(scratch_ / "root/" + name).ok());
    ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "root/bin/busybox", os::ReadFile(*busybox, 64 << 20).value(), 0755).ok());
    for (const char* name : {"sh", "true", "sleep", "cat", "id", "ls", "grep", "kill", "stty", "hostname", "mkdir", "tty", "mknod", "ip"}) {
      ASSERT_EQ(::symlink("busybox", (scratch_ / "root/bin/" + name).c_str()), 0);
    }
    ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "root/etc/passwd",
                                    "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/home/alice:/bin/sh\nbroken:x:abc:1::/:/bin/sh\n")
                    .ok());
    ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "root/etc/group", "root:x:0:\nstaff:x:1001:\nwheel:x:10:bob,alice\naudio:x:29:alice\n").ok());
    ASSERT_NO_FATAL_FAILURE(MakeRuntime());
  }

  void MakeRuntime() {
    runtime_.reset();
    Runtime::Config config;
    config.state_dir = scratch_ / "state";
    absl::StatusOr<std::unique_ptr<Runtime>> runtime = Runtime::Create(config);
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    runtime_ = *std::move(runtime);
  }

  ContainerSpec Spec(std::vector<std::string> args) {
    ContainerSpec spec;
    spec.id = RandomId();
    spec.rootfs = scratch_ / "root";
    spec.process.args = std::move(args);
    spec.process.env = {"PATH=/bin"};
    return spec;
  }
  ContainerSpec Shell(const std::string& script) { return Spec({"/bin/sh", "-c", script}); }

  Outcome Run(const ContainerSpec& spec, const CancelToken& cancel = {}) {
    Pipe out, err;
    Outcome outcome;
    std::thread read_out([&] { outcome.out = os::ReadAll(out.read.get(), 1 << 20, "out").value_or(""); });
    std::thread read_err([&] { outcome.err = os::ReadAll(err.read.get(), 1 << 20, "err").value_or(""); });
    outcome.status = runtime_->Run(spec, {UniqueFd(), std::move(out.write), std::move(err.write)}, cancel);
    read_out.join();
    read_err.join();
    return outcome;
  }

  // True once `fd` has something to read or has ended; false when that takes ten seconds.
  static bool Ready(int fd) {
    struct pollfd event = {fd, POLLIN, 0};
    return ::poll(&event, 1, 10000) == 1;
  }

  os::Scratch scratch_;
  std::unique_ptr<Runtime> runtime_;
};

}  // namespace cachalot::runtime
