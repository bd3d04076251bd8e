#include "remotecache/azure_token.h"

#include <cstdlib>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cachalot::remotecache {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class FakeAuthority : public registry::HttpTransport {
 public:
  absl::StatusOr<registry::HttpResponse> Do(const registry::HttpRequest& request) override {
    ++asked;
    url = request.url;
    form.assign(static_cast<std::size_t>(std::max<std::int64_t>(request.body_size, 0)), '\0');
    if (!form.empty()) (void)request.body(0, form.data(), form.size());
    if (answer.empty()) return absl::UnavailableError("nobody is there");
    registry::HttpResponse response;
    response.status = 200;
    response.body = answer;
    return response;
  }
  int asked = 0;
  std::string url, form, answer;
};

class AzureTokenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"}) ::unsetenv(name);
  }
  void TearDown() override { SetUp(); }
  FakeAuthority authority_;
};

TEST_F(AzureTokenTest, ApplicationsShowTheirSecret) {
  ::setenv("AZURE_TENANT_ID", "tenant", 1);
  ::setenv("AZURE_CLIENT_ID", "client", 1);
  ::setenv("AZURE_CLIENT_SECRET", "se&cret", 1);
  authority_.answer = R"({"access_token":"t","expires_in":3600})";
  AzureToken token(&authority_);
  EXPECT_EQ(*token.Get({}), "t");
  EXPECT_EQ(*token.Get({}), "t");
  EXPECT_EQ(authority_.asked, 1) << "a good token is kept";
  EXPECT_EQ(authority_.url, "https://login.microsoftonline.com/tenant/oauth2/v2.0/token");
  EXPECT_THAT(authority_.form, HasSubstr("client_secret=se%26cret"));
}

TEST_F(AzureTokenTest, MachinesAskTheirService) {
  authority_.answer = R"({"access_token":"m","expires_in":"10"})";
  AzureToken token(&authority_);
  EXPECT_EQ(*token.Get({}), "m");
  EXPECT_EQ(*token.Get({}), "m");
  EXPECT_EQ(authority_.asked, 2) << "one that soon expires is not";
  EXPECT_THAT(authority_.url, StartsWith("http://169.254.169.254/metadata/identity/oauth2/token"));
}

TEST_F(AzureTokenTest, ItIsSaidWhatCanBeSet) {
  AzureToken token(&authority_);
  EXPECT_THAT(std::string(token.Get({}).status().message()), HasSubstr("set secret_access_key"));
  authority_.answer = R"({"error":"no"})";
  EXPECT_THAT(std::string(token.Get({}).status().message()), HasSubstr("no access_token"));
}

}  // namespace
}  // namespace cachalot::remotecache
