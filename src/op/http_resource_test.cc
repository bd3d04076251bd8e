// Web resources over a web server in memory.
#include "op/http_resource.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "op/http_time.h"
#include "snapshot/snapshots_testing.h"
#include "store/cache_index.h"

namespace cachalot::op {
namespace {

using testing::HasSubstr;

TEST(HttpFilenameTest, ComesFromTheSourceTheHeaderOrTheUrl) {
  EXPECT_EQ(HttpFilename("http://h/a/b?q=/c", "", ""), "b");
  EXPECT_EQ(HttpFilename("http://h/a/b", "wanted", "attachment; filename=x"), "wanted");
  EXPECT_EQ(HttpFilename("http://h/a/b", "", "attachment; filename=\"my img.jpg\""), "my img.jpg");
  EXPECT_EQ(HttpFilename("http://h/a/b", "", "attachment; filename=../../etc/passwd"), "passwd");
  for (const char* url : {"http://h", "http://h/", "http://h/..", "http://h/?x"}) EXPECT_EQ(HttpFilename(url, "", ""), "download") << url;
  EXPECT_EQ(SafeFileName("a\nb"), "download");
}

TEST(HttpTimeTest, TakesAllThreeForms) {
  const absl::Time time = absl::FromUnixSeconds(784111777);
  for (const char* text : {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"}) {
    EXPECT_EQ(ParseHttpTime(text), time) << text;
  }
  EXPECT_EQ(FormatHttpTime(time), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_FALSE(ParseHttpTime("yesterday").has_value());
}

class FakeServer : public registry::HttpTransport {
 public:
  absl::StatusOr<registry::HttpResponse> Do(const registry::HttpRequest& request) override {
    log.push_back(request.method);
    registry::HttpResponse response;
    response.status = status;
    response.headers = {{"ETag", "W/" + tag}, {"Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"}};
    for (const auto& [name, value] : request.headers) {
      if (name == "If-None-Match" && value == tag) response.status = 304;
    }
    if (request.method == "GET" && response.ok()) {
      const absl::Status taken = request.on_data(content);
      if (!taken.ok()) return taken;
    }
    return response;
  }
  int status = 200;
  std::string tag = "\"one\"", content = "content";
  std::vector<std::string> log;
};

class HttpResourceTest : public snapshot::SnapshotsTest {
 protected:
  void SetUp() override {
    snapshot::SnapshotsTest::SetUp();
    if (IsSkipped()) return;
    index_ = std::make_unique<store::CacheIndex>(database_.get());
    environment_.parts.snapshots = snapshots_.get();
    environment_.parts.index = index_.get();
    environment_.parts.http = &server_;
  }
  HttpIdentifier Parse(std::map<std::string, std::string> attrs = {}) { return *HttpIdentifier::Parse({"http://h/file", std::move(attrs)}); }
  // In a build of its own.
  absl::StatusOr<HttpResourcePtr> Get(const HttpIdentifier& identifier) { return HttpResources().Get(identifier, environment_, {}); }

  FakeServer server_;
  std::unique_ptr<store::CacheIndex> index_;
  Environment environment_;
};

TEST_F(HttpResourceTest, DownloadsOnceWhileTheTagStays) {
  const auto first = Get(Parse({{"http.perm", "0644"}}));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*first)->digest, oci::Digest::Of("content"));
  EXPECT_EQ((*first)->filename, "file");
  const auto tree = View((*first)->tree);
  const auto st = os::Lstat(tree->path() + "/file");
  ASSERT_TRUE(st.ok()) << st.status();
  EXPECT_EQ(st->st_mode, static_cast<mode_t>(S_IFREG | 0644));
  EXPECT_EQ(st->st_mtime, 784111777);
  const auto second = Get(Parse({{"http.perm", "0644"}}));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ((*second)->tree->id(), (*first)->tree->id());
  EXPECT_THAT(server_.log, testing::ElementsAre("GET", "HEAD"));
  server_.tag = "\"two\"";
  server_.content = "changed";
  EXPECT_EQ((*Get(Parse({{"http.perm", "0644"}})))->digest, oci::Digest::Of("changed"));
  // Another mode makes another tree: what is known of the first says nothing.
  EXPECT_TRUE(Get(Parse()).ok());
  EXPECT_THAT(server_.log, testing::ElementsAre("GET", "HEAD", "HEAD", "GET", "GET"));
}

TEST_F(HttpResourceTest, MeansTheSameForTheWholeBuild) {
  HttpResources build;
  EXPECT_TRUE(build.Get(Parse(), environment_, {}).ok());
  server_.tag = "\"two\"";
  server_.content = "changed";
  EXPECT_EQ((*build.Get(Parse(), environment_, {}))->digest, oci::Digest::Of("content"));
  const auto other = build.Get(Parse({{"http.checksum", oci::Digest::Of("changed").str()}}), environment_, {});
  EXPECT_THAT(other.status().message(), HasSubstr("digest mismatch for http://h/file"));
  EXPECT_EQ(server_.log.size(), 1u);
}

TEST_F(HttpResourceTest, DownloadsAgainWhatWasPruned) {
  ASSERT_TRUE(Get(Parse()).ok());
  ASSERT_TRUE(snapshots_->Prune({.all = true}, [](const snapshot::UsageRecord&) {}).ok());
  EXPECT_TRUE(Get(Parse()).ok());
  EXPECT_THAT(server_.log, testing::ElementsAre("GET", "GET"));
}

TEST_F(HttpResourceTest, TellsTheStatusOfARefusal) {
  server_.status = 404;
  EXPECT_EQ(Get(Parse()).status().message(), "invalid response status 404");
}

TEST_F(HttpResourceTest, WantsKeyAndSignatureTogether) { EXPECT_FALSE(HttpIdentifier::Parse({"http://h/file", {{"http.sig.pubkey", "x"}}}).ok()); }

}  // namespace
}  // namespace cachalot::op
