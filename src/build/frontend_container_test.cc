#include "build/frontend_container.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <thread>

#include "build/engine_testing.h"
#include "build/errors.h"
#include "os/file.h"

namespace cachalot::build {
namespace {

class FrontendContainerTest : public EngineTest {
 protected:
  // Runs `script` in a container to its end; what it printed goes to `printed`.
  static absl::Status RunIn(Container& container, const std::string& script, std::string* printed = nullptr) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return absl::InternalError("pipe");
    UniqueFd read(ends[0]), write(ends[1]);
    absl::StatusOr<std::unique_ptr<ContainerProcess>> process = container.Start(Script(script), {UniqueFd(), std::move(write), UniqueFd()}, {});
    if (!process.ok()) return process.status();
    const absl::Status status = (*process)->Wait({});
    if (printed != nullptr) *printed = os::ReadAll(read.get(), 1 << 20, "pipe").value_or("?");
    return status;
  }
  // Lets the process go when it has ended.
  static std::future<absl::Status> WaitFor(std::unique_ptr<ContainerProcess> process) {
    return std::async(std::launch::async, [process = std::move(process)]() mutable {
      const std::unique_ptr<ContainerProcess> running = std::move(process);
      return running->Wait({});
    });
  }
  static ProcessRequest Script(const std::string& script) {
    ProcessRequest request;
    request.meta.args = {"/bin/sh", "-c", script};
    return request;
  }
  static llb::Mount MountOf(const std::string& dest, const std::string& id, bool readonly = false) {
    llb::Mount mount;
    mount.dest = dest;
    mount.result_id = id;
    mount.readonly = readonly;
    return mount;
  }
  // A container on busybox and on `mounts`.
  static absl::StatusOr<ContainerPtr> NewContainer(GatewayBuild& gateway, std::vector<llb::Mount> mounts = {}) {
    absl::StatusOr<llb::FrontendResult> root = Solve(gateway, Busybox());
    if (!root.ok()) return root.status();
    ContainerRequest request;
    request.id = "c";
    request.mounts = std::move(mounts);
    request.mounts.push_back(MountOf("/", gateway.Keep(root->ref)));
    if (absl::Status status = gateway.NewContainer(request, {}); !status.ok()) return status;
    return gateway.FindContainer("c");
  }
  // Runs `test` as the frontend of a build.
  void InBuild(const std::function<void(GatewayBuild&)>& test) {
    const absl::Status status = WithGateway([&](GatewayBuild& gateway) {
      test(gateway);
      return llb::FrontendResult();
    });
    EXPECT_TRUE(status.ok()) << status;
  }
};

TEST_F(FrontendContainerTest, ProcessesShareTheContainer) {
  InBuild([&](GatewayBuild& gateway) {
    const absl::StatusOr<ContainerPtr> container = NewContainer(gateway, {MountOf("/scratch", "")});
    ASSERT_TRUE(container.ok()) << container.status();
    const auto first = (*container)->Start(Script("sleep 1000"), {}, {});
    ASSERT_TRUE(first.ok()) << first.status();
    std::string printed;
    EXPECT_TRUE(RunIn(**container, "echo text > /scratch/f; echo $PATH; cat /proc/1/cmdline", &printed).ok());
    EXPECT_TRUE(printed.starts_with("/usr/local/sbin:")) << printed;
    EXPECT_NE(printed.find("sleep"), std::string::npos) << printed;
    EXPECT_EQ((*container)->ReadFile(0, "/f", 1, 2).value_or("?"), "ex");
    EXPECT_EQ((*container)->StatFile(0, "/f")->size, 5);
    EXPECT_EQ((*container)->ReadDir(1, "/bin", "se*")->size(), 1u);
    EXPECT_EQ((*container)->ReadFile(2, "/f", 0, 0).status().message(), "mount index 2 is out of bounds (2 available)");
    EXPECT_FALSE((*container)->ReadFile(0, "f", 0, 0).ok());
    const absl::Status failure = RunIn(**container, "exit 3");
    EXPECT_EQ(failure.message(), "exit code: 3");
    EXPECT_EQ(DetailsOf(failure).exit_code, 3);
    const auto second = (*container)->Start(Script("sleep 1000"), {}, {});
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_TRUE((*second)->Signal(SIGTERM).ok()) << "however soon it comes";
    EXPECT_EQ((*second)->Wait({}).message(), "exit code: 143");
    EXPECT_TRUE((*first)->Signal(SIGKILL).ok());
    EXPECT_EQ((*first)->Wait({}).message(), "exit code: 137");
  });
}

TEST_F(FrontendContainerTest, ReleaseKillsAndRefuses) {
  InBuild([&](GatewayBuild& gateway) {
    const absl::StatusOr<ContainerPtr> container = NewContainer(gateway);
    ASSERT_TRUE(container.ok()) << container.status();
    EXPECT_EQ(NewContainer(gateway).status().code(), absl::StatusCode::kAlreadyExists);
    auto process = (*container)->Start(Script("sleep 1000"), {}, {});
    ASSERT_TRUE(process.ok()) << process.status();
    std::future<absl::Status> exit = WaitFor(*std::move(process));
    const absl::Status released = gateway.ReleaseContainer("c");
    EXPECT_EQ(released.code(), absl::StatusCode::kCancelled) << released;
    EXPECT_EQ(exit.get().message(), "exit code: 137: context canceled");
    EXPECT_FALSE((*container)->Start(Script("true"), {}, {}).ok());
    EXPECT_FALSE((*container)->StatFile(0, "/").ok());
    EXPECT_EQ(gateway.ReleaseContainer("c").message(), "container details for c not found");
  });
}

TEST_F(FrontendContainerTest, WhatStartsWhileTheContainerGoesIsCancelled) {
  InBuild([&](GatewayBuild& gateway) {
    for (int round = 0; round < 5; ++round) {
      const absl::StatusOr<ContainerPtr> container = NewContainer(gateway);
      ASSERT_TRUE(container.ok()) << container.status();
      auto first = (*container)->Start(Script("sleep 1000"), {}, {});
      ASSERT_TRUE(first.ok()) << first.status();
      std::future<absl::Status> exit = WaitFor(*std::move(first));
      std::promise<void> begins;
      std::future<absl::Status> added = std::async(std::launch::async, [&] {
        begins.set_value();
        return RunIn(**container, "sleep 1000");
      });
      begins.get_future().wait();
      std::this_thread::sleep_for(std::chrono::milliseconds(2 * round));  // somewhere in its start, whichever that hits
      (void)gateway.ReleaseContainer("c");
      const absl::Status status = added.get();
      EXPECT_TRUE(status.message().find("context canceled") != std::string::npos || absl::IsNotFound(status)) << status;
      EXPECT_EQ(exit.get().message(), "exit code: 137: context canceled");
    }
  });
}

TEST_F(FrontendContainerTest, TheEndOfTheBuildReleases) {
  ContainerPtr left;
  std::future<absl::Status> exit;
  InBuild([&](GatewayBuild& gateway) {
    const absl::StatusOr<ContainerPtr> container = NewContainer(gateway);
    ASSERT_TRUE(container.ok()) << container.status();
    auto process = (*container)->Start(Script("sleep 1000"), {}, {});
    ASSERT_TRUE(process.ok()) << process.status();
    exit = WaitFor(*std::move(process));
    left = *container;
  });
  ASSERT_NE(left, nullptr);
  EXPECT_TRUE(absl::IsCancelled(exit.get()));
  EXPECT_FALSE(left->Start(Script("true"), {}, {}).ok());
  left.reset();
}

TEST_F(FrontendContainerTest, PrivilegesAreAskedFor) {
  InBuild([&](GatewayBuild& gateway) {
    const absl::StatusOr<ContainerPtr> container = NewContainer(gateway);
    ASSERT_TRUE(container.ok()) << container.status();
    ProcessRequest request = Script("true");
    request.security = llb::SecurityMode::kInsecure;
    EXPECT_EQ((*container)->Start(request, {}, {}).status().message(), "security.insecure is not allowed");
  });
}

TEST_F(FrontendContainerTest, TreesOfAFailedStepCanBeMounted) {
  InBuild([&](GatewayBuild& gateway) {
    llb::RunOptions options;
    options.AddMount("/rw", State().File(llb::FileActions().Mkfile("/before", 0644, "b")));
    const absl::Status failure = Solve(gateway, Run(Busybox(), "echo root > /left; echo rw > /rw/after; exit 1", options).Root(), true).status();
    const ErrorDetails details = DetailsOf(failure);
    ASSERT_EQ(details.mount_ids.size(), 2u) << failure;
    ASSERT_EQ(details.input_ids.size(), 2u);
    const absl::StatusOr<ContainerPtr> container = NewContainer(
        gateway, {MountOf("/root", details.mount_ids[0]), MountOf("/rw", details.mount_ids[1], true), MountOf("/input", details.input_ids[1])});
    ASSERT_TRUE(container.ok()) << container.status();
    std::string printed;
    EXPECT_TRUE(RunIn(**container, "cat /root/left /rw/after /rw/before; cd /input; ls", &printed).ok());
    EXPECT_EQ(printed, "root\nrw\nbbefore\n");
  });
}

TEST_F(FrontendContainerTest, TreesOfAFailedFileOperationCanBeMounted) {
  InBuild([&](GatewayBuild& gateway) {
    const State made = State().File(llb::FileActions().Mkdir("/d", 0755).Mkfile("/d/f", 0644, "made").Mkfile("/none/f", 0644, ""));
    const absl::Status failure = Solve(gateway, made, true).status();
    const ErrorDetails details = DetailsOf(failure);
    EXPECT_EQ(details.file_action, 2) << failure;
    ASSERT_EQ(details.mount_ids.size(), 3u);
    EXPECT_EQ(details.mount_ids[0], "");
    const absl::StatusOr<ContainerPtr> container = NewContainer(gateway, {MountOf("/work", details.mount_ids[2])});
    ASSERT_TRUE(container.ok()) << container.status();
    std::string printed;
    EXPECT_TRUE(RunIn(**container, "cat /work/d/f", &printed).ok());
    EXPECT_EQ(printed, "made");
  });
}

TEST_F(FrontendContainerTest, UnknownTreesAreErrors) {
  InBuild([&](GatewayBuild& gateway) {
    const absl::Status status = NewContainer(gateway, {MountOf("/x", "nothing")}).status();
    EXPECT_EQ(status.message(), "failed to find ref nothing for \"/x\" mount: no such ref: nothing");
  });
}

}  // namespace
}  // namespace cachalot::build
