#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/guarded.h"
#include "registry/auth.h"
#include "registry/client.h"
#include "registry/fake_server_testing.h"
#include "registry/memory_blobs_testing.h"

namespace cachalot::registry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

oci::Descriptor Describe(const std::string& bytes, absl::string_view type = oci::kMediaTypeLayerGzip) {
  return {.media_type = std::string(type), .digest = oci::Digest::Of(bytes), .size = static_cast<std::int64_t>(bytes.size())};
}

oci::Reference Ref(const FakeServer& server, const std::string& rest = "a/b:t") {
  return *oci::Reference::ParseNormalized(server.authority() + "/" + rest);
}

class FixedCredentials final : public Credentials {
 public:
  explicit FixedCredentials(Basic basic, absl::StatusOr<std::string> token = absl::UnimplementedError("")) : basic_(basic), token_(token) {}
  absl::StatusOr<Basic> ForHost(const std::string&) override { return basic_; }
  absl::StatusOr<std::string> FetchToken(const TokenRequest& request) override {
    requests.push_back(request);
    return token_;
  }
  std::vector<TokenRequest> requests;

 private:
  Basic basic_;
  absl::StatusOr<std::string> token_;
};

// A registry with one manifest under a/b:t that hands out bearer tokens.
FakeReply TokenRegistry(const FakeServer& server, const FakeRequest& request) {
  if (absl::StartsWith(request.target, "/token")) {
    if (request.method == "POST") return {.status = 401};
    if (request.headers.count("authorization") > 0 && request.headers.at("authorization") != "Basic dTpw") return {.status = 401};
    return {.body = R"({"token":"tok","expires_in":300})"};
  }
  if (request.headers.count("authorization") == 0 || request.headers.at("authorization") != "Bearer tok") {
    return {
        .status = 401,
        .headers = {{"WWW-Authenticate", absl::StrCat("Bearer realm=\"", server.url(), "/token\",service=\"svc\",scope=\"repository:a/b:pull\"")}}};
  }
  return {.headers = {{"Content-Type", std::string(oci::kMediaTypeManifest)}, {"Docker-Content-Digest", oci::Digest::Of("m").str()}}, .body = "m"};
}

TEST(Registry, FetchesAnonymousTokensOnce) {
  FakeServer* self = nullptr;
  FakeServer server([&](const FakeRequest& request) { return TokenRegistry(*self, request); });
  self = &server;
  const auto client = Client::Create({});
  const absl::StatusOr<oci::Descriptor> descriptor = client->Resolve(Ref(server), {});
  ASSERT_TRUE(descriptor.ok()) << descriptor.status();
  EXPECT_EQ(descriptor->digest, oci::Digest::Of("m"));
  EXPECT_EQ(descriptor->size, 1);
  EXPECT_EQ(*client->FetchManifest(Ref(server), *descriptor, {}), "m");
  EXPECT_THAT(server.log(), ElementsAre("HEAD /v2/a/b/manifests/t", "GET /token?service=svc&scope=repository%3Aa%2Fb%3Apull",
                                        "HEAD /v2/a/b/manifests/t", absl::StrCat("GET /v2/a/b/manifests/", descriptor->digest.str())));
}

TEST(Registry, AsksTheClientForTokensFirst) {
  FakeServer* self = nullptr;
  FakeServer server([&](const FakeRequest& request) { return TokenRegistry(*self, request); });
  self = &server;
  const auto credentials = std::make_shared<FixedCredentials>(Credentials::Basic{}, "tok");
  ASSERT_TRUE(Client::Create({})->Resolve(Ref(server), {.credentials = credentials}).ok());
  ASSERT_EQ(credentials->requests.size(), 1u);
  EXPECT_EQ(credentials->requests[0].service, "svc");
  EXPECT_THAT(credentials->requests[0].scopes, ElementsAre("repository:a/b:pull"));
}

TEST(Registry, KeepsTokensApartByCredentials) {
  FakeServer* self = nullptr;
  FakeServer server([&](const FakeRequest& request) { return TokenRegistry(*self, request); });
  self = &server;
  const auto client = Client::Create({});
  ASSERT_TRUE(client->Resolve(Ref(server), {.credentials = std::make_shared<FixedCredentials>(Credentials::Basic{"u", "p"})}).ok());
  const absl::Status status =
      client->Resolve(Ref(server), {.credentials = std::make_shared<FixedCredentials>(Credentials::Basic{"u", "wrong"})}).status();
  EXPECT_THAT(status.message(), HasSubstr("failed to fetch oauth token: unexpected status from POST request to"));
}

TEST(Registry, BasicAuthorization) {
  FakeServer server([&](const FakeRequest& request) {
    if (request.headers.count("authorization") == 0) return FakeReply{.status = 401, .headers = {{"WWW-Authenticate", "Basic realm=\"r\""}}};
    EXPECT_EQ(request.headers.at("authorization"), "Basic dTpw");
    return FakeReply{.headers = {{"Content-Type", std::string(oci::kMediaTypeManifest)}}, .body = "m"};
  });
  const auto client = Client::Create({});
  const auto credentials = std::make_shared<FixedCredentials>(Credentials::Basic{"u", "p"});
  EXPECT_EQ(client->Resolve(Ref(server), {.credentials = credentials})->digest, oci::Digest::Of("m"));
  EXPECT_THAT(client->Resolve(Ref(server), {}).status().message(),
              HasSubstr("pull access denied, repository does not exist or may require authorization: "));
}

TEST(Registry, ReportsInsufficientScope) {
  FakeServer* self = nullptr;
  FakeServer server([&](const FakeRequest& request) {
    if (absl::StartsWith(request.target, "/token")) return FakeReply{.body = R"({"access_token":"tok"})"};
    return FakeReply{.status = 401,
                     .headers = {{"WWW-Authenticate", absl::StrCat("Bearer realm=\"", self->url(), "/token\",error=\"insufficient_scope\"")}}};
  });
  self = &server;
  EXPECT_EQ(Client::Create({})->Resolve(Ref(server), {}).status().message(),
            "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed");
  store::MemoryBlobs blobs;
  const oci::Descriptor blob = Describe("x");
  EXPECT_THAT(Client::Create({})->PushBlob(Ref(server), blob, blobs, {}, {}).message(), HasSubstr("push access denied"));
}

TEST(Registry, NamesWhatIsNotFound) {
  FakeServer server([&](const FakeRequest&) { return FakeReply{.status = 404}; });
  EXPECT_EQ(Client::Create({})->Resolve(Ref(server), {}).status().message(), server.authority() + "/a/b:t: not found");
}

TEST(Registry, NamesTheUnreachable) {
  const absl::Status status = Client::Create({})->Resolve(*oci::Reference::ParseNormalized("127.0.0.1:1/a:t"), {}).status();
  EXPECT_EQ(status.message(),
            "failed to do request: Head \"http://127.0.0.1:1/v2/a/manifests/t\": dial tcp 127.0.0.1:1: connect: connection refused");
}

TEST(Registry, RetriesServerErrors) {
  std::atomic<int> count = 0;
  FakeServer server([&](const FakeRequest&) {
    switch (count++) {
      case 0: return FakeReply{.status = 503};
      case 1: return FakeReply{.cut_after = 0};
      case 2: return FakeReply{.status = 429, .headers = {{"Retry-After", "0"}}};
      default: return FakeReply{.headers = {{"Docker-Content-Digest", oci::Digest::Of("m").str()}}, .body = "m"};
    }
  });
  EXPECT_TRUE(Client::Create({})->Resolve(Ref(server), {}).ok());
  EXPECT_EQ(server.log().size(), 4u);
}

TEST(Registry, ResumesBrokenBlobs) {
  std::string blob;
  for (int i = 0; i < 200000; ++i) blob += std::to_string(i);
  std::vector<std::string> ranges;
  FakeServer server([&](const FakeRequest& request) {
    const std::string range = request.headers.count("range") > 0 ? request.headers.at("range") : "";
    ranges.push_back(range);
    if (ranges.size() == 3) return FakeReply{.body = blob};  // ignores the range
    if (range.empty()) return FakeReply{.body = blob, .cut_after = 1000};
    const std::size_t from = std::stoul(range.substr(6));
    return FakeReply{.status = 206,
                     .headers = {{"Content-Range", absl::StrCat("bytes ", from, "-", blob.size() - 1, "/", blob.size())}},
                     .body = blob.substr(from),
                     .cut_after = 500};
  });
  store::MemoryBlobs blobs;
  const oci::Descriptor descriptor = Describe(blob);
  std::int64_t last = 0;
  const absl::Status status =
      Client::Create({})->FetchBlob(Ref(server), descriptor, blobs, {.on_progress = [&](const oci::Descriptor&, std::int64_t done) { last = done; }});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(*blobs.Read(descriptor.digest), blob);
  EXPECT_EQ(last, descriptor.size);
  EXPECT_THAT(ranges, ElementsAre("", "bytes=1000-", "bytes=1500-"));
}

TEST(Registry, RefusesOtherContent) {
  FakeServer server([&](const FakeRequest&) { return FakeReply{.body = "evil"}; });
  store::MemoryBlobs blobs;
  const oci::Descriptor descriptor = Describe("good");
  const absl::Status status = Client::Create({})->FetchBlob(Ref(server), descriptor, blobs, {});
  EXPECT_THAT(status.message(), HasSubstr(descriptor.digest.str()));
  EXPECT_THAT(status.message(), HasSubstr(oci::Digest::Of("evil").str()));
  EXPECT_THAT(Client::Create({})->FetchManifest(Ref(server), Describe("good", oci::kMediaTypeManifest), {}).status().message(),
              HasSubstr(oci::Digest::Of("evil").str()));
  EXPECT_FALSE(Client::Create({})->FetchBlob(Ref(server), Describe("much longer than evil"), blobs, {}).ok());
  EXPECT_FALSE(Client::Create({})->FetchBlob(Ref(server), Describe("e"), blobs, {}).ok());
}

TEST(Registry, TheSizeOfABlobBoundsIt) {
  FakeServer server([&](const FakeRequest&) { return FakeReply{.body = "endless"}; });
  store::MemoryBlobs blobs;
  oci::Descriptor descriptor = Describe("endless");
  descriptor.size = 0;
  EXPECT_THAT(Client::Create({})->FetchBlob(Ref(server), descriptor, blobs, {}).message(), HasSubstr("is larger than the 0 bytes"));
  descriptor.size = -1;  // known to nobody
  EXPECT_TRUE(Client::Create({})->FetchBlob(Ref(server), descriptor, blobs, {}).ok());
}

// The media types of manifests are headers of our requests.
TEST(Registry, MediaTypesMakeNoRequests) {
  FakeServer server([&](const FakeRequest&) { return FakeReply{.body = "x"}; });
  store::MemoryBlobs blobs;
  const absl::Status status = Client::Create({})->FetchBlob(Ref(server), Describe("x", "x/y\r\n\r\nPOST /evil HTTP/1.1\r\nHost: h"), blobs, {});
  EXPECT_THAT(status.message(), HasSubstr("invalid value of header Accept"));
  EXPECT_THAT(server.log(), ElementsAre());
}

TEST(Registry, TriesMirrorsFirst) {
  FakeServer origin([&](const FakeRequest&) { return FakeReply{.headers = {{"Docker-Content-Digest", oci::Digest::Of("m").str()}}, .body = "m"}; });
  FakeServer mirror([&](const FakeRequest&) { return FakeReply{.status = 404}; });
  HostConfigs configs;
  configs[origin.authority()].mirrors = {mirror.authority() + "/cache"};
  ASSERT_TRUE(Client::Create(configs)->Resolve(Ref(origin), {}).ok());
  EXPECT_THAT(mirror.log(), ElementsAre(absl::StrCat("HEAD /v2/cache/a/b/manifests/t?ns=", EscapeQuery(origin.authority()))));
  EXPECT_THAT(origin.log(), ElementsAre("HEAD /v2/a/b/manifests/t"));
}

// An in-memory registry that accepts uploads and fails as it is told.
class UploadRegistry {
 public:
  FakeReply Handle(const FakeRequest& request) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (fail_every > 0 && ++count_ % fail_every == 0) return count_ % 2 == 0 ? FakeReply{.status = 500} : FakeReply{.cut_after = 0};
    if (request.method == "HEAD") return stored.count(request.target) > 0 ? FakeReply{} : FakeReply{.status = 404};
    if (request.method == "POST") {
      if (absl::StrContains(request.target, "mount=") && absl::StrContains(request.target, "from=base")) return {.status = 201};
      return {.status = 202, .headers = {{"Location", "/v2/a/b/blobs/uploads/1?_state=s"}}};
    }
    const std::size_t digest = request.target.find("digest=");
    if (request.method == "PUT" && digest != std::string::npos) {
      std::string text = request.target.substr(digest + 7);
      text.replace(text.find("%3A"), 3, ":");
      if (oci::Digest::Of(request.body).str() != text) return {.status = 400, .body = R"({"errors":[{"code":"DIGEST_INVALID","message":"bad"}]})"};
      stored["/v2/a/b/blobs/" + text] = request.body;
      return {.status = 201};
    }
    stored[request.target] = request.body;
    return {.status = 201};
  }
  int fail_every = 0;
  std::map<std::string, std::string> stored;

 private:
  std::mutex mutex_;
  int count_ = 0;
};

TEST(Registry, PushesThroughFailures) {
  UploadRegistry registry;
  registry.fail_every = 3;
  FakeServer server([&](const FakeRequest& request) { return registry.Handle(request); });
  const auto client = Client::Create({});
  store::MemoryBlobs blobs;
  for (int i = 0; i < 10; ++i) {
    const std::string bytes = std::string(100000, 'x') + std::to_string(i);
    const oci::Descriptor descriptor = Describe(bytes);
    ASSERT_TRUE(blobs.Put(bytes).ok());
    const absl::Status status = client->PushBlob(Ref(server), descriptor, blobs, {}, {});
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(registry.stored["/v2/a/b/blobs/" + descriptor.digest.str()], bytes);
  }
  const oci::Descriptor manifest = Describe("{}", oci::kMediaTypeManifest);
  ASSERT_TRUE(client->PushManifest(Ref(server), manifest, "{}", false, {}).ok());
  ASSERT_TRUE(client->PushManifest(Ref(server), manifest, "{}", true, {}).ok());
  EXPECT_EQ(registry.stored["/v2/a/b/manifests/t"], "{}");
  EXPECT_EQ(registry.stored["/v2/a/b/manifests/" + manifest.digest.str()], "{}");
}

TEST(Registry, MountsInsteadOfUploading) {
  UploadRegistry registry;
  FakeServer server([&](const FakeRequest& request) { return registry.Handle(request); });
  store::MemoryBlobs blobs;  // empty: an upload would fail
  ASSERT_TRUE(Client::Create({})->PushBlob(Ref(server), Describe("x"), blobs, {"other.io/base", server.authority() + "/base"}, {}).ok());
  EXPECT_EQ(server.log().size(), 2u);
}

TEST(Registry, InsecureFallsBackToPlainHttp) {
  UploadRegistry registry;
  FakeServer server([&](const FakeRequest& request) { return registry.Handle(request); });
  HostConfigs configs;
  configs[server.authority()].plain_http = false;
  const oci::Descriptor manifest = Describe("{}", oci::kMediaTypeManifest);
  EXPECT_THAT(Client::Create(configs)->PushManifest(Ref(server), manifest, "{}", false, {}).message(),
              HasSubstr("http: server gave HTTP response to HTTPS client"));
  const absl::Status status = Client::Create(configs)->PushManifest(Ref(server), manifest, "{}", false, {.insecure = true});
  EXPECT_TRUE(status.ok()) << status;
}

TEST(Registry, CancelsWhileWaitingToRetry) {
  CancelSource source;
  FakeServer server([&](const FakeRequest&) {
    source.Cancel();
    return FakeReply{.status = 503, .headers = {{"Retry-After", "30"}}};
  });
  EXPECT_EQ(Client::Create({})->Resolve(Ref(server), {.cancel = source.token()}).status().code(), absl::StatusCode::kCancelled);
}

// One build's token server hangs; another one that waits for the same token can be cancelled.
TEST(Registry, CancelsWhileAnotherFetchesTheToken) {
  FakeServer* self = nullptr;
  Guarded<bool> hangs;
  FakeServer server([&](const FakeRequest& request) {
    if (!absl::StartsWith(request.target, "/token")) return TokenRegistry(*self, request);
    *hangs.Lock() = true;
    hangs.NotifyAll();
    return FakeReply{.hang = true};
  });
  self = &server;
  const auto client = Client::Create({});
  CancelSource first, second;
  std::thread other([&] { EXPECT_TRUE(absl::IsCancelled(client->Resolve(Ref(server), {.cancel = first.token()}).status())); });
  hangs.Lock().Wait([](bool value) { return value; });
  second.Cancel();
  EXPECT_TRUE(absl::IsCancelled(client->Resolve(Ref(server), {.cancel = second.token()}).status()));
  first.Cancel();
  other.join();
}

TEST(Auth, ParsesChallenges) {
  const std::vector<Challenge> challenges =
      ParseChallenges({R"(Bearer realm="https://a/t?x=1,2",service=s, scope="x:y:pull,push")", "Basic realm=\"q\\\"r\", Negotiate"});
  ASSERT_EQ(challenges.size(), 3u);
  EXPECT_EQ(challenges[0].Parameter("realm"), "https://a/t?x=1,2");
  EXPECT_EQ(challenges[0].Parameter("scope"), "x:y:pull,push");
  EXPECT_EQ(challenges[1].Parameter("realm"), "q\"r");
  EXPECT_EQ(challenges[2].scheme, "negotiate");
  EXPECT_THAT(NormalizeScopes({"repository:b:push,pull", "repository:a:pull repository:b:pull"}),
              ElementsAre("repository:a:pull", "repository:b:pull,push"));
}

}  // namespace
}  // namespace cachalot::registry
