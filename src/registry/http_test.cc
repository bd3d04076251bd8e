#include "registry/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "registry/fake_server_testing.h"

namespace cachalot::registry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Http, StreamsBothWays) {
  FakeServer server([](const FakeRequest& request) {
    return FakeReply{.status = 200, .headers = {{"X-Type", request.headers.at("content-type")}}, .body = request.body + "!"};
  });
  const auto transport = HttpTransport::Create();
  const std::string body(3 << 20, 'x');
  std::string got;
  HttpRequest request{.method = "PUT", .url = server.url() + "/a", .headers = {{"Content-Type", "text/x"}}};
  SetBody(request, body);
  request.on_data = [&](absl::string_view bytes) {
    got.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  };
  const absl::StatusOr<HttpResponse> response = transport->Do(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->Header("x-type"), "text/x");
  EXPECT_EQ(got, body + "!");
}

TEST(Http, KeepsSecretsFromOtherServers) {
  std::string at_cdn = "unset";
  FakeServer cdn([&](const FakeRequest& request) {
    at_cdn = request.headers.count("authorization") + request.headers.count("x-amz-security-token") > 0 ? "sent" : "kept";
    return FakeReply{.body = "content"};
  });
  FakeServer server([&](const FakeRequest& request) {
    if (request.target == "/start") return FakeReply{.status = 302, .headers = {{"Location", "/next?x=1"}}};
    EXPECT_EQ(request.headers.at("authorization"), "Basic s");
    return FakeReply{.status = 307, .headers = {{"Location", cdn.url() + "/file"}}};
  });
  const auto transport = HttpTransport::Create();
  const absl::StatusOr<HttpResponse> response =
      transport->Do({.url = server.url() + "/start", .headers = {{"Authorization", "Basic s"}, {"x-amz-security-token", "t"}}});
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->body, "content");
  EXPECT_EQ(at_cdn, "kept");
  EXPECT_THAT(server.log(), ElementsAre("GET /start", "GET /next?x=1"));
}

TEST(Http, HeadersAreOneLine) {
  FakeServer server([](const FakeRequest&) { return FakeReply{}; });
  const auto transport = HttpTransport::Create();
  for (const auto& [name, value] :
       HttpHeaders{{"A", "x\r\nB: y"}, {"A", "x\ny"}, {"A", std::string("x\0y", 3)}, {"A\r\nB", "x"}, {"A: b", "x"}, {"", "x"}}) {
    EXPECT_EQ(transport->Do({.url = server.url(), .headers = {{name, value}}}).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_THAT(server.log(), ElementsAre());
  EXPECT_TRUE(transport->Do({.url = server.url(), .headers = {{"A", "x\ty \xE6"}}}).ok());
}

TEST(Http, StopsEndlessRedirects) {
  FakeServer server([&](const FakeRequest&) { return FakeReply{.status = 301, .headers = {{"Location", "/again"}}}; });
  EXPECT_THAT(HttpTransport::Create()->Do({.url = server.url()}).status().message(), HasSubstr("stopped after 10 redirects"));
}

TEST(Http, RefusesRedirectsToFiles) {
  FakeServer server([&](const FakeRequest&) { return FakeReply{.status = 302, .headers = {{"Location", "file:///etc/passwd"}}}; });
  EXPECT_FALSE(HttpTransport::Create()->Do({.url = server.url()}).ok());
}

TEST(Http, NamesTheUnreachable) {
  std::string url;
  {
    FakeServer server([](const FakeRequest&) { return FakeReply{}; });
    url = server.url();
  }
  const absl::Status status = HttpTransport::Create()->Do({.method = "HEAD", .url = url + "/v2/"}).status();
  EXPECT_EQ(status.message(), absl::StrCat("Head \"", url, "/v2/\": dial tcp ", url.substr(7), ": connect: connection refused"));
  EXPECT_EQ(FailureOf(status), HttpFailure::kRefused);
}

TEST(Http, TellsBrokenTransfersAndMissingTls) {
  FakeServer server([](const FakeRequest& request) {
    return request.target == "/cut" ? FakeReply{.body = "0123456789", .cut_after = 4} : FakeReply{.cut_after = 0};
  });
  const auto transport = HttpTransport::Create();
  EXPECT_EQ(FailureOf(transport->Do({.url = server.url() + "/cut"}).status()), HttpFailure::kTransient);
  EXPECT_EQ(FailureOf(transport->Do({.url = server.url() + "/none"}).status()), HttpFailure::kTransient);
  FakeServer plain([](const FakeRequest&) { return FakeReply{}; });
  EXPECT_EQ(FailureOf(transport->Do({.url = absl::StrCat("https://", plain.authority(), "/")}).status()), HttpFailure::kNotTls);
}

TEST(Http, BoundsWhatItKeeps) {
  FakeServer server([](const FakeRequest&) { return FakeReply{.body = std::string(1000, 'x')}; });
  const absl::Status status = HttpTransport::Create()->Do({.url = server.url(), .max_body = 999}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

TEST(Http, CancelsPromptly) {
  CancelSource source;
  FakeServer server([&](const FakeRequest&) {
    source.Cancel();
    return FakeReply{.hang = true};
  });
  const absl::Time start = absl::Now();
  const absl::Status status = HttpTransport::Create()->Do({.url = server.url(), .cancel = source.token()}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

TEST(Http, SinkErrorsEndTheTransfer) {
  FakeServer server([](const FakeRequest&) { return FakeReply{.body = "x"}; });
  const absl::Status status =
      HttpTransport::Create()->Do({.url = server.url(), .on_data = [](absl::string_view) { return absl::DataLossError("disk"); }}).status();
  EXPECT_EQ(status.message(), "disk");
}

TEST(Url, HidesSecrets) {
  EXPECT_EQ(RedactUrl("https://u:p@h/x?token=abc&ns=docker.io"), "https://h/x?token=REDACTED&ns=docker.io");
  EXPECT_EQ(OriginOf("HTTPS://Host:443/x"), "https://host");
  EXPECT_EQ(OriginOf("ftp://host/"), "");
  EXPECT_EQ(*ResolveUrl("https://h/v2/a?x=1", "/b"), "https://h/b");
}

}  // namespace
}  // namespace cachalot::registry
