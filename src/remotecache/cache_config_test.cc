#include "remotecache/cache_config.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace cachalot::remotecache {
namespace {

const char* const kBlobA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const char* const kBlobB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

// As BuildKit writes it: zeros are left out, so that a parent of 0 does not show.
std::string BuildKitText() {
  return absl::StrCat(
      R"({"layers":[{"blob":")", kBlobA, R"(","parent":-1},{"blob":")", kBlobB, R"("}],)", R"("records":[{"digest":"sha256:source"},)",
      R"({"layers":[{"layer":1,"createdAt":"2024-05-06T07:08:09.123456789Z"}],"digest":"sha256:run",)",
      R"("inputs":[[{"selector":"sha256:sel","link":0},{"link":2}]]},)", R"({"digest":"sha256:content"},)",
      R"({"chains":[{"layers":[1,0],"createdAt":"0001-01-01T00:00:00Z"}],"digest":"sha256:merge","inputs":[[{"link":1}],[{"link":0}]]}]})");
}

TEST(CacheConfigTest, ReadsAndWritesWhatBuildKitWrites) {
  const absl::StatusOr<CacheConfig> config = ParseCacheConfig(BuildKitText());
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_EQ(config->layers.size(), 2U);
  EXPECT_EQ(config->layers[0].parent, -1);
  EXPECT_EQ(config->layers[1].parent, 0);
  ASSERT_EQ(config->records.size(), 4U);
  const Record& run = config->records[1];
  EXPECT_EQ(run.inputs, (std::vector<std::vector<RecordLink>>{{{"sha256:sel", 0}, {"", 2}}}));
  ASSERT_EQ(run.results.size(), 1U);
  EXPECT_EQ(run.results[0].layer, 1);
  EXPECT_EQ(absl::ToUnixNanos(run.results[0].created_at) % 1'000'000'000, 123456789);
  EXPECT_EQ(config->records[3].chains[0].layers, (std::vector<int>{1, 0}));
  EXPECT_EQ(config->records[3].chains[0].created_at, absl::InfinitePast());
  EXPECT_EQ(Serialize(*config), BuildKitText());
}

TEST(CacheConfigTest, InlineRecordsLieOverTheImagesLayers) {
  const std::vector<oci::Digest> layers = {*oci::Digest::Parse(kBlobA), *oci::Digest::Parse(kBlobB)};
  const std::string text = R"([{"layers":[{"layer":1,"createdAt":"2024-05-06T07:08:09Z"}],"digest":"sha256:run"}])";
  const absl::StatusOr<CacheConfig> config = ParseInlineRecords(text, layers);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers, (std::vector<ConfigLayer>{{layers[0], -1}, {layers[1], 0}}));
  EXPECT_EQ(ChainOf(*config, 1), (std::vector<int>{0, 1}));
  EXPECT_EQ(SerializeRecords(config->records), text);
  EXPECT_TRUE(ParseInlineRecords("null", layers)->records.empty());
}

TEST(CacheConfigTest, RefusesWhatCannotBe) {
  const auto problem = [](const std::string& text) { return std::string(ParseCacheConfig(text).status().message()); };
  EXPECT_EQ(problem(R"({"records":[{"digest":"a","inputs":[[{"link":1}]]},{"digest":"b","inputs":[[{"link":0}]]}]})"),
            "cache config: invalid looping record");
  EXPECT_NE(problem(R"({"records":[{"digest":"a","inputs":[[{"link":7}]]}]})").find("out of range"), std::string::npos);
  EXPECT_NE(problem(R"({"records":[{"digest":"a","inputs":[[]]}]})").find("empty input"), std::string::npos);
  EXPECT_NE(problem(R"({"records":[{"digest":"a","layers":[{"layer":0}]}]})").find("out of range"), std::string::npos);
  EXPECT_NE(problem(R"({"records":[{"digest":"a","chains":[{"layers":[-1]}]}]})").find("out of range"), std::string::npos);
  EXPECT_EQ(problem(absl::StrCat(R"({"layers":[{"blob":")", kBlobA, R"("}]})")), "cache config: invalid looping layer");
  EXPECT_NE(problem(R"({"layers":[{"blob":"nothing","parent":-1}]})").find("no digest"), std::string::npos);
  EXPECT_FALSE(ParseCacheConfig("{").ok());
  EXPECT_FALSE(ParseInlineRecords("{}", {}).ok());
}

}  // namespace
}  // namespace cachalot::remotecache
