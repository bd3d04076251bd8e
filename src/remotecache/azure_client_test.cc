#include "remotecache/azure_client.h"

#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cachalot::remotecache {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kUrl[] = "http://127.0.0.1:10000/account";

std::string HeaderOf(const registry::HttpRequest& request, const std::string& name) {
  for (const auto& [key, value] : request.headers) {
    if (key == name) return value;
  }
  return "";
}

// An account with one key, that checks the signature of each request as Azure documents it.
class FakeAccount : public registry::HttpTransport {
 public:
  explicit FakeAccount(AzureConfig config) : config_(std::move(config)) {}

  absl::StatusOr<registry::HttpResponse> Do(const registry::HttpRequest& request) override {
    requests.push_back(absl::StrCat(request.method, " ", request.url));
    registry::HttpResponse response;
    response.method = request.method;
    response.url = request.url;
    const std::size_t question = request.url.find('?');
    const std::string path = request.url.substr(0, question);
    std::map<std::string, std::string> query;
    if (question != std::string::npos) {
      for (const absl::string_view pair : absl::StrSplit(absl::string_view(request.url).substr(question + 1), '&')) {
        const std::vector<std::string> parts = absl::StrSplit(pair, absl::MaxSplits('=', 1));
        query[parts[0]] = Unescape(parts[1]);
      }
    }
    registry::HttpHeaders plain = request.headers;
    std::erase_if(plain, [](const auto& header) { return header.first == "Authorization"; });
    const std::string resource = path.substr(std::string("http://127.0.0.1:10000").size());
    if (HeaderOf(request, "Authorization") != SignAzure(config_, request.method, resource, query, plain, request.body_size)) {
      response.status = 403;
      return response;
    }
    std::string body(static_cast<std::size_t>(std::max<std::int64_t>(request.body_size, 0)), '\0');
    for (std::size_t done = 0; done < body.size();) {
      absl::StatusOr<std::size_t> got = request.body(static_cast<std::int64_t>(done), body.data() + done, body.size() - done);
      if (!got.ok()) return got.status();
      done += *got;
    }
    response.status = Answer(request, path, query, body, response);
    return response;
  }

  std::vector<std::string> requests;
  std::map<std::string, std::string> blobs;
  bool container = false;

 private:
  static std::string Unescape(absl::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '%') {
        out += absl::HexStringToBytes(text.substr(i + 1, 2));
        i += 2;
      } else {
        out += text[i];
      }
    }
    return out;
  }

  int Answer(const registry::HttpRequest& request, const std::string& path, std::map<std::string, std::string>& query, const std::string& body,
             registry::HttpResponse& response) {
    if (query["restype"] == "container") {
      if (request.method == "HEAD") return container ? 200 : 404;
      container = true;
      return 201;
    }
    if (!container) return 404;
    if (request.method == "PUT") {
      if (query["comp"] == "block") {
        blocks_[query["blockid"]] = body;
      } else if (query["comp"] == "blocklist") {
        std::string& blob = blobs[path] = "";
        for (const auto& [id, bytes] : blocks_) {
          if (absl::StrContains(body, absl::StrCat("<Latest>", id, "</Latest>"))) blob += bytes;
        }
      } else if (query["comp"] == "metadata") {
        return blobs.contains(path) ? 200 : 404;
      } else if (HeaderOf(request, "x-ms-blob-type") != "BlockBlob") {
        return 400;
      } else {
        blobs[path] = body;
      }
      return 201;
    }
    const auto blob = blobs.find(path);
    if (blob == blobs.end()) return 404;
    response.headers = {{"Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT"}};
    if (request.on_data != nullptr) {
      EXPECT_TRUE(request.on_data(blob->second).ok());
    } else {
      response.body = blob->second;
    }
    return 200;
  }

  const AzureConfig config_;
  std::map<std::string, std::string> blocks_;
};

AzureConfig Config(Attributes attributes = {}) {
  attributes.emplace("account_url", kUrl);
  attributes.emplace("account_name", "account");
  attributes.emplace("secret_access_key", "a2V5");
  const absl::StatusOr<AzureConfig> config = AzureAttributes(attributes);
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

ObjectStore::Body BodyOf(const std::string& text) {
  return [&text](std::int64_t offset, char* out, std::size_t room) -> absl::StatusOr<std::size_t> {
    return text.copy(out, room, static_cast<std::size_t>(offset));
  };
}

TEST(AzureClientTest, ReadsItsAttributes) {
  const AzureConfig config = Config({{"name", "one;two"}, {"prefix", "pre//fix/"}, {"blobs_prefix", ""}, {"container", "c"}});
  EXPECT_EQ(config.account_key, "key");
  EXPECT_EQ(config.container, "c");
  EXPECT_EQ(config.layout.configs, "pre/fix/manifests/");
  EXPECT_EQ(config.layout.blobs, "pre/fix/");
  EXPECT_THAT(config.layout.names, ElementsAre("one", "two"));
  EXPECT_EQ(Config().layout.configs, "manifests/");
  EXPECT_EQ(AzureAttributes({{"account_url", "https://mine.blob.core.windows.net/"}})->account_name, "mine");
  EXPECT_THAT(std::string(AzureAttributes({}).status().message()), HasSubstr("account_url attribute is required"));
  EXPECT_THAT(std::string(AzureAttributes({{"account_url", "somewhere"}}).status().message()), HasSubstr("is not the URL of a storage account"));
  EXPECT_THAT(std::string(AzureAttributes({{"account_url", kUrl}, {"secret_access_key", "~"}}).status().message()), HasSubstr("is not base64"));
}

// Worked out by hand after "Authorize with Shared Key", for a path-style address.
TEST(AzureClientTest, SignsWhatAzureDocuments) {
  AzureConfig config = Config();
  const std::string signature = SignAzure(config, "PUT", "/account/c/k", {{"blockid", "MQ=="}, {"comp", "block"}},
                                          {{"x-ms-version", "2021-12-02"}, {"x-ms-date", "Wed, 21 Oct 2015 07:28:00 GMT"}}, 4);
  EXPECT_EQ(signature, "SharedKey account:Id9GwwuQtzNFckzyhJfO8Uc/sh7xOxri3rny6t+vicg=");
}

TEST(AzureClientTest, WritesAndReadsBlobs) {
  FakeAccount account(Config());
  AzureClient client(Config(), &account);
  EXPECT_EQ(*client.Read("manifests/buildkit", 100, {}), std::nullopt) << "there is not even a container";
  EXPECT_FALSE(account.container) << "an import makes none";
  const std::string text = "data";
  ASSERT_TRUE(client.Write("blobs/sha256:x", 4, "", BodyOf(text), {}).ok());
  ASSERT_TRUE(client.Write("empty", 0, "", BodyOf(text), {}).ok());
  EXPECT_EQ(account.blobs.at("http://127.0.0.1:10000/account/buildkit-cache/blobs/sha256%3Ax"), "data");
  EXPECT_EQ(*client.Read("blobs/sha256:x", 100, {}), "data");
  EXPECT_EQ(*client.WrittenAt("blobs/sha256:x", {}), absl::FromUnixSeconds(1445412480));
  EXPECT_EQ(*client.WrittenAt("other", {}), std::nullopt);
  EXPECT_TRUE(client.Touch("empty", {}).ok());
  std::string fetched;
  std::optional<absl::Duration> pause;
  const auto sink = [&](absl::string_view bytes) { return fetched.append(bytes.data(), bytes.size()), absl::OkStatus(); };
  ASSERT_TRUE(client.Fetch("blobs/sha256:x", sink, pause, {}).ok());
  EXPECT_EQ(fetched, "data");
}

TEST(AzureClientTest, LargeBlobsTravelInBlocks) {
  FakeAccount account(Config());
  AzureClient client(Config(), &account);
  std::string large(70 << 20, 'a');
  for (std::size_t i = 0; i < large.size(); i += 4093) large[i] = static_cast<char>(i);
  ASSERT_TRUE(client.Write("large", static_cast<std::int64_t>(large.size()), "", BodyOf(large), {}).ok());
  EXPECT_TRUE(account.blobs.at(absl::StrCat(kUrl, "/buildkit-cache/large")) == large);
  EXPECT_THAT(account.requests.back(), StartsWith(absl::StrCat("PUT ", kUrl, "/buildkit-cache/large?comp=blocklist")));
}

TEST(AzureClientTest, AWrongKeyIsSaid) {
  FakeAccount account(Config());
  AzureClient client(Config({{"secret_access_key", "d3Jvbmc="}}), &account);
  EXPECT_THAT(client.Read("k", 100, {}).status().ToString(), HasSubstr("403"));
}

}  // namespace
}  // namespace cachalot::remotecache
