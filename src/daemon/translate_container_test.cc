#include "daemon/translate_container.h"

#include <csignal>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "op/errors.h"

namespace cachalot::daemon {
namespace {

namespace gateway = moby::buildkit::v1::frontend;

TEST(TranslateContainerTest, SignalsByName) {
  EXPECT_EQ(SignalNumber("KILL"), SIGKILL);
  EXPECT_EQ(SignalNumber("SIGHUP"), SIGHUP);
  EXPECT_EQ(SignalNumber("IOT"), SIGABRT);
  EXPECT_EQ(SignalNumber("CLD"), SIGCHLD);
  EXPECT_EQ(SignalNumber("RTMIN"), SIGRTMIN);
  EXPECT_EQ(SignalNumber("RTMIN+3"), SIGRTMIN + 3);
  EXPECT_EQ(SignalNumber("RTMAX-1"), SIGRTMAX - 1);
  for (const char* name : {"", "SIG", "kill", "9", "RTMIN+99", "RTMIN-1", "RTMAX+1", "RTMINx"}) {
    EXPECT_EQ(SignalNumber(name), std::nullopt) << name;
  }
}

TEST(TranslateContainerTest, MountsOfContainersHaveNoIndices) {
  gateway::NewContainerRequest message;
  message.set_containerid("c");
  message.set_network(pb::NONE);
  message.mutable_platform()->set_os("windows");
  pb::Mount* mount = message.add_mounts();
  mount->set_dest("/");
  mount->set_resultid("ref");
  mount->set_input(7);
  const auto request = DecodeContainer(message);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->id, "c");
  EXPECT_EQ(request->network, llb::NetMode::kNone);
  EXPECT_EQ(request->os, "windows");
  ASSERT_EQ(request->mounts.size(), 1u);
  EXPECT_EQ(request->mounts[0].result_id, "ref");
  EXPECT_EQ(request->mounts[0].input, -1);
  EXPECT_EQ(request->mounts[0].output, -1);
  mount->set_mounttype(static_cast<pb::MountType>(99));
  EXPECT_FALSE(DecodeContainer(message).ok());
}

TEST(TranslateContainerTest, ProcessesAreChecked) {
  gateway::InitMessage message;
  EXPECT_EQ(DecodeProcess(message).status().message(), "a process needs arguments");
  message.mutable_meta()->add_args("sh");
  message.mutable_meta()->set_user("alice");
  message.set_tty(true);
  message.add_secretenv()->set_id("s");
  const auto request = DecodeProcess(message);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->meta.user, "alice");
  EXPECT_EQ(request->secret_env.at(0).id, "s");
  EXPECT_TRUE(request->tty);
  message.set_security(static_cast<pb::SecurityMode>(2));
  EXPECT_EQ(DecodeProcess(message).status().message(), "invalid security mode 2");
}

// Security modes that nobody knows were neither refused nor confined.
TEST(TranslateContainerTest, Ghsa7236_3392_c5c6) {
  for (const int mode : {2, 3, 99, -1}) {
    gateway::InitMessage message;
    message.mutable_meta()->add_args("sh");
    message.set_security(static_cast<pb::SecurityMode>(mode));
    EXPECT_EQ(DecodeProcess(message).status().code(), absl::StatusCode::kInvalidArgument) << mode;
  }
}

TEST(TranslateContainerTest, ExitsTellTheirCode) {
  gateway::ExitMessage fine;
  EncodeExit(absl::OkStatus(), &fine);
  EXPECT_EQ(fine.code(), 0u);
  EXPECT_FALSE(fine.has_error());

  gateway::ExitMessage failed;
  absl::Status status = absl::UnknownError("exit code: 3");
  op::SetNumber(status, op::kExitCodePayload, 3);
  EncodeExit(status, &failed);
  EXPECT_EQ(failed.code(), 3u);
  EXPECT_EQ(failed.error().message(), "exit code: 3");

  gateway::ExitMessage not_started;
  EncodeExit(absl::PermissionDeniedError("no"), &not_started);
  EXPECT_EQ(not_started.code(), 255u);
}

}  // namespace
}  // namespace cachalot::daemon
