#include "daemon/policy_session.h"

#include "build/errors.h"
#include "buildkit/policysession.pb.h"
#include "daemon/fake_engine_testing.h"
#include "daemon/fake_session_testing.h"
#include "gtest/gtest.h"

namespace cachalot::daemon {
namespace {

namespace wire = moby::buildkit::v1::sourcepolicy;
using wire::policysession::CheckPolicyRequest;
using wire::policysession::CheckPolicyResponse;

constexpr char kImage[] = "docker-image://docker.io/library/alpine:latest";

class PolicySessionTest : public testing::Test {
 protected:
  // Lets the client answer with `answers`, one after the other.
  absl::StatusOr<bool> Check(std::vector<CheckPolicyResponse> answers) {
    std::size_t next = 0;
    FakeHub hub("s", [&](absl::string_view method, absl::string_view request) -> absl::StatusOr<std::string> {
      EXPECT_EQ(method, "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy");
      questions_.emplace_back().ParseFromArray(request.data(), static_cast<int>(request.size()));
      if (next == answers.size()) return absl::UnknownError("policy denied");
      return answers[next++].SerializeAsString();
    });
    return SessionVerifier(hub, "s").Check(source_, oci::HostPlatform(), metadata_, budget_, {});
  }
  static CheckPolicyResponse Decision(wire::PolicyAction action) {
    CheckPolicyResponse response;
    response.mutable_decision()->set_action(action);
    return response;
  }

  std::vector<CheckPolicyRequest> questions_;
  llb::SourceOp source_{kImage, {{"image.layerlimit", "1"}}};
  FakeGateway metadata_;
  int budget_ = 10;
};

TEST_F(PolicySessionTest, DescribesTheSource) {
  EXPECT_EQ(Check({Decision(wire::ALLOW)}).value_or(false), true);
  ASSERT_EQ(questions_.size(), 1u);
  EXPECT_EQ(questions_[0].platform().os(), "linux");
  EXPECT_EQ(questions_[0].source().source().identifier(), kImage);
  EXPECT_EQ(questions_[0].source().source().attrs().at("image.layerlimit"), "1");
  EXPECT_FALSE(questions_[0].source().has_image());
  EXPECT_EQ(budget_, 9);
}

TEST_F(PolicySessionTest, ResolvesWhatTheClientWantsToKnow) {
  CheckPolicyResponse request;
  request.mutable_request()->mutable_source()->set_identifier(kImage);
  (*request.mutable_request()->mutable_source()->mutable_attrs())["image.layerlimit"] = "1";
  EXPECT_EQ(Check({request, Decision(wire::ALLOW)}).value_or(false), true);
  ASSERT_EQ(questions_.size(), 2u);
  EXPECT_FALSE(questions_[1].source().image().digest().empty());
  request.mutable_request()->mutable_source()->set_identifier("local://context");
  EXPECT_EQ(Check({request}).status().message(),
            "policy requested different source identifier: \"local://context\" != \"docker-image://docker.io/library/alpine:latest\"");
}

TEST_F(PolicySessionTest, ConvertsAndRefuses) {
  CheckPolicyResponse convert = Decision(wire::CONVERT);
  EXPECT_EQ(Check({convert}).status().message(), "convert action requires updated source");
  convert.mutable_decision()->mutable_update()->set_identifier("docker-image://docker.io/library/busybox:latest");
  EXPECT_EQ(Check({convert}).value_or(true), false);
  EXPECT_EQ(source_.identifier, "docker-image://docker.io/library/busybox:latest");
  EXPECT_TRUE(source_.attrs.empty());
  CheckPolicyResponse deny = Decision(wire::DENY);
  deny.mutable_decision()->add_denymessages()->set_message("use another");
  const absl::Status refusal = Check({deny}).status();
  EXPECT_EQ(refusal.message(), "source \"docker-image://docker.io/library/busybox:latest\" not allowed by policy: action DENY");
  EXPECT_EQ(build::DetailsOf(refusal).deny_messages, std::vector<std::string>{"use another"});
}

TEST_F(PolicySessionTest, FailuresOfTheClientRefuse) {
  EXPECT_EQ(Check({}).status().message(), "policy denied");
  EXPECT_EQ(Check({CheckPolicyResponse()}).status().message(), "no decision in policy response");
  budget_ = 0;
  EXPECT_EQ(Check({Decision(wire::ALLOW)}).status().message(), "too many policy requests");
}

}  // namespace
}  // namespace cachalot::daemon
