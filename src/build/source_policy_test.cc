#include "build/source_policy.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>

#include "base/guarded.h"
#include "cachalot/llb/file.h"
#include "cachalot/llb/source.h"
#include "llb/definition.h"
#include "llb/sources.h"

namespace cachalot::build {
namespace {

constexpr char kBusybox[] = "docker-image://docker.io/library/busybox:latest";
constexpr char kAlpine[] = "docker-image://docker.io/library/alpine:latest";

// Nothing here resolves anything: verifiers only hand it on.
class NoMetadata final : public llb::FrontendBridge {
 public:
  absl::StatusOr<llb::FrontendResult> Solve(const llb::SolveRequest&) override { return Unused(); }
  absl::StatusOr<llb::ResolvedImage> ResolveImage(const std::string&, const llb::ResolveOptions&) override { return Unused(); }
  absl::StatusOr<llb::ResolvedSource> ResolveSource(const llb::SourceOp&, const llb::ResolveOptions&) override { return Unused(); }
  absl::StatusOr<std::string> ReadFile(const llb::RefPtr&, const std::string&, std::int64_t, std::int64_t) override { return Unused(); }
  absl::StatusOr<std::vector<llb::FileStat>> ReadDir(const llb::RefPtr&, const std::string&, const std::string&) override { return Unused(); }
  absl::StatusOr<llb::FileStat> StatFile(const llb::RefPtr&, const std::string&) override { return Unused(); }
  void Warn(solver::WarningEvent) override {}
  oci::Platform default_platform() const override { return oci::HostPlatform(); }
  CancelToken cancel() const override { return {}; }

 private:
  static absl::Status Unused() { return absl::InternalError("not to be asked"); }
};

class FakeVerifier final : public SourceVerifier {
 public:
  using Answer = std::function<absl::StatusOr<bool>(llb::SourceOp&)>;
  explicit FakeVerifier(Answer answer) : answer_(std::move(answer)) {}
  absl::StatusOr<bool> Check(llb::SourceOp& source, const std::optional<oci::Platform>&, llb::FrontendBridge&, int& budget,
                             const CancelToken&) override {
    if (budget-- <= 0) return absl::FailedPreconditionError("too many policy requests");
    return answer_(source);
  }

 private:
  const Answer answer_;
};

policy::Policy Deny(const std::string& what) { return {1, {{policy::Action::kDeny, {what, policy::Match::kWildcard, {}}, {}}}}; }
policy::Policy Convert(const std::string& from, const std::string& to) {
  return {1, {{policy::Action::kConvert, {from, policy::Match::kWildcard, {}}, policy::Update{to, {}}}}};
}

llb::Edge Load(const llb::State& state) { return llb::LoadDefinition(state.Marshal().value()).value(); }
llb::Edge BothImages() {
  return Load(llb::State().File(llb::FileActions().Copy(llb::Image("busybox"), "/a", "/a").Copy(llb::Image("alpine"), "/b", "/b")));
}

class SourcePolicyTest : public testing::Test {
 protected:
  // The source after the policies, or why it is refused.
  std::string Apply(SourcePolicy& policy, const std::string& identifier, const std::vector<policy::Policy>& more = {}) {
    llb::SourceOp source{identifier, {}};
    const absl::Status status = policy.Apply(source, {}, more, metadata_, {});
    return status.ok() ? source.identifier : std::string(status.message());
  }
  NoMetadata metadata_;
};

TEST_F(SourcePolicyTest, TheFrontendsPoliciesCountToo) {
  SourcePolicy policy({Convert(kBusybox, kAlpine)}, nullptr);
  EXPECT_EQ(Apply(policy, kBusybox), kAlpine);
  EXPECT_EQ(Apply(policy, kBusybox, {Deny("*alpine*")}),
            "source \"docker-image://docker.io/library/alpine:latest\" denied by policy: source denied by policy");
}

TEST_F(SourcePolicyTest, AnotherSpellingDoesNotEvadeARule) {
  SourcePolicy policy({Deny(kBusybox), Deny("git://example.com/r.git#main:a/b")}, nullptr);
  EXPECT_NE(Apply(policy, "docker-image://busybox").find("denied by policy"), std::string::npos);
  EXPECT_NE(Apply(policy, "git://example.com/r.git#main:../a/./b/").find("denied by policy"), std::string::npos);
  EXPECT_EQ(Apply(policy, "git://example.com/r.git#main:b"), "git://example.com/r.git#main:b");
}

TEST_F(SourcePolicyTest, WhatTheVerifierRewritesIsJudgedAgain) {
  SourcePolicy policy({Deny(kAlpine)}, std::make_shared<FakeVerifier>([](llb::SourceOp& source) {
                        source.identifier = kAlpine;
                        return false;
                      }));
  EXPECT_NE(Apply(policy, kBusybox).find("denied by policy"), std::string::npos);
}

TEST_F(SourcePolicyTest, QuestionsAboutOneSourceAreBounded) {
  int asked = 0;
  SourcePolicy policy({}, std::make_shared<FakeVerifier>([&](llb::SourceOp&) {
                        ++asked;
                        return false;
                      }));
  EXPECT_EQ(Apply(policy, kBusybox), "too many policy requests");
  EXPECT_EQ(asked, 10);
}

TEST_F(SourcePolicyTest, TheVerifierIsAskedAboutAllSourcesAtOnce) {
  Guarded<int> waiting;
  SourcePolicy policy({}, std::make_shared<FakeVerifier>([&](llb::SourceOp& source) {
                        auto count = waiting.Lock();
                        ++*count;
                        waiting.NotifyAll();
                        count.Wait([](int n) { return n == 2; });
                        return true;
                      }));
  const llb::Edge edge = BothImages();
  const auto judged = policy.Apply(edge, {}, metadata_, {});
  ASSERT_TRUE(judged.ok()) << judged.status();
  EXPECT_EQ(judged->vertex, edge.vertex);
}

TEST_F(SourcePolicyTest, AGraphIsRewrittenOrRefused) {
  SourcePolicy convert({Convert(kBusybox, kAlpine)}, nullptr);
  const auto judged = convert.Apply(BothImages(), {}, metadata_, {});
  ASSERT_TRUE(judged.ok()) << judged.status();
  for (const llb::VertexPtr& source : llb::SourcesOf(*judged)) EXPECT_EQ(std::get<llb::SourceOp>(source->op).identifier, kAlpine);
  SourcePolicy deny({Deny(kBusybox)}, nullptr);
  EXPECT_EQ(
      deny.Apply(BothImages(), {}, metadata_, {}).status().message(),
      "error evaluating the source policy: source \"docker-image://docker.io/library/busybox:latest\" denied by policy: source denied by policy");
}

}  // namespace
}  // namespace cachalot::build
