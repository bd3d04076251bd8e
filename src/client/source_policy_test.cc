#include "client/source_policy.h"

#include "gtest/gtest.h"
#include "os/file.h"
#include "os/scratch_testing.h"

namespace cachalot::client {
namespace {

namespace wire = moby::buildkit::v1::sourcepolicy;

TEST(SourcePolicy, IsReadInTheFormsThatGoWrites) {
  const os::Scratch scratch;
  const std::string path = scratch / "policy.json";
  ASSERT_TRUE(os::WriteFileAtomic(path, R"({"version": 1, "rules": [
      {"action": "DENY", "selector": {"identifier": "https://*", "match_type": "WILDCARD", "constraints": [
          {"key": "http.checksum", "value": "", "condition": "EQUAL"}]}},
      {"action": "CONVERT", "selector": {"identifier": "a", "matchType": "EXACT"}, "updates": {"identifier": "b", "attrs": {"c": "d"}}}]})",
                                  0644)
                  .ok());
  const auto policy = ReadSourcePolicy(path);
  ASSERT_TRUE(policy.ok()) << policy.status();
  ASSERT_EQ(policy->rules_size(), 2);
  EXPECT_EQ(policy->rules(0).action(), wire::DENY);
  EXPECT_EQ(policy->rules(0).selector().constraints(0).key(), "http.checksum");
  EXPECT_EQ(policy->rules(1).selector().match_type(), wire::EXACT);
  EXPECT_EQ(policy->rules(1).updates().attrs().at("c"), "d");
}

TEST(SourcePolicy, FaultsNameTheFile) {
  const os::Scratch scratch;
  const std::string path = scratch / "policy.json";
  EXPECT_TRUE(absl::IsNotFound(ReadSourcePolicy(path).status()));
  ASSERT_TRUE(os::WriteFileAtomic(path, R"({"rules": [{"action": "MAYBE"}]})", 0644).ok());
  const absl::Status status = ReadSourcePolicy(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message().find("source policy " + path + ": "), 0u) << status;
}

}  // namespace
}  // namespace cachalot::client
