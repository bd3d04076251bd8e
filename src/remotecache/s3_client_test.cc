#include "remotecache/s3_client.h"

#include <map>

#include "gtest/gtest.h"

namespace cachalot::remotecache {
namespace {

// The example of the Signature Version 4 documentation ("GET Object"), with the headers that this client sends.
TEST(S3ClientTest, SignsAsAmazonDocuments) {
  S3Config config;
  config.region = "us-east-1";
  config.access_key = "AKIAIOSFODNN7EXAMPLE";
  config.secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
  const std::string empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  const registry::HttpHeaders headers = SignS3(config, "GET", "https://examplebucket.s3.amazonaws.com/test.txt", empty, {{"range", "bytes=0-9"}},
                                               absl::FromCivil(absl::CivilSecond(2013, 5, 24), absl::UTCTimeZone()));
  std::map<std::string, std::string> sent(headers.begin(), headers.end());
  EXPECT_EQ(sent["x-amz-date"], "20130524T000000Z");
  EXPECT_EQ(sent["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(S3ClientTest, ThePortOfTheSchemeIsNoPartOfTheHost) {
  S3Config config;
  config.access_key = "key";
  config.secret_key = "secret";
  const auto sign = [&](const std::string& url) { return SignS3(config, "GET", url, "hash", {}, absl::UnixEpoch()); };
  EXPECT_EQ(sign("http://example.com:80/x"), sign("http://example.com/x"));
  EXPECT_EQ(sign("https://example.com:443/x"), sign("https://example.com/x"));
  EXPECT_NE(sign("https://example.com:80/x"), sign("https://example.com/x"));
}

TEST(S3ClientTest, SignsNothingWithoutKeys) {
  for (const auto& [name, value] : SignS3({}, "GET", "https://b.example.com/k", "hash", {}, absl::UnixEpoch())) EXPECT_NE(name, "authorization");
}

TEST(S3ClientTest, ReadsItsAttributes) {
  const absl::StatusOr<S3Config> config = S3Attributes(
      {{"bucket", "b"}, {"region", "r"}, {"name", "one;two"}, {"touch_refresh", "1h"}, {"use_path_style", "true"}, {"blobs_prefix", ""}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->names, (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(config->touch_refresh, absl::Hours(1));
  EXPECT_TRUE(config->use_path_style);
  EXPECT_EQ(config->blobs_prefix, "");
  EXPECT_EQ(config->manifests_prefix, "manifests/");
  EXPECT_EQ(S3Attributes({{"region", "r"}}).status().message(), "bucket ($AWS_BUCKET) not set for s3 cache");
  EXPECT_EQ(S3Attributes({{"bucket", "b"}, {"region", "r"}, {"upload_parallelism", "0"}}).status().message(),
            "upload_parallelism must be a positive integer");
}

class MapTransport : public registry::HttpTransport {
 public:
  absl::StatusOr<registry::HttpResponse> Do(const registry::HttpRequest& request) override {
    registry::HttpResponse response;
    response.status = 200;
    if (request.method == "PUT") {
      std::string& object = objects[request.url];
      object.resize(static_cast<std::size_t>(request.body_size));
      std::size_t done = 0;
      while (done < object.size()) done += *request.body(static_cast<std::int64_t>(done), object.data() + done, object.size() - done);
      return response;
    }
    const auto found = objects.find(request.url);
    if (found == objects.end()) {
      response.status = 404;
      return response;
    }
    response.headers = {{"Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT"}};
    if (request.on_data != nullptr) {
      if (const absl::Status status = request.on_data(found->second); !status.ok()) return status;
    } else {
      response.body = found->second;
    }
    return response;
  }
  std::map<std::string, std::string> objects;
};

TEST(S3ClientTest, WritesAndReadsObjects) {
  MapTransport transport;
  S3Config config;
  config.bucket = "bucket";
  config.endpoint_url = "http://example.com:9000/";
  const auto body = [](std::int64_t offset, char* out, std::size_t) -> absl::StatusOr<std::size_t> {
    *out = "data"[offset];
    return 1;
  };
  ASSERT_TRUE(S3Client(config, &transport).Write("blobs/sha256:x", 4, "hash", body, {}).ok());
  EXPECT_EQ(transport.objects.begin()->first, "http://bucket.example.com:9000/blobs/sha256%3Ax");
  config.use_path_style = true;
  S3Client client(config, &transport);
  EXPECT_EQ(*client.Read("key", 100, {}), std::nullopt);
  EXPECT_EQ(*client.WrittenAt("key", {}), std::nullopt);
  ASSERT_TRUE(client.Write("key", 4, "hash", body, {}).ok());
  EXPECT_EQ(transport.objects.count("http://example.com:9000/bucket/key"), 1U);
  EXPECT_EQ(*client.Read("key", 100, {}), "data");
  EXPECT_EQ(*client.WrittenAt("key", {}), absl::FromUnixSeconds(1445412480));
}

}  // namespace
}  // namespace cachalot::remotecache
