#include "dockerfile/compile/cache_imports.h"

#include "gtest/gtest.h"

namespace cachalot::dockerfile {
namespace {

TEST(CacheImportsTest, TakesBothForms) {
  const auto imports = ParseCacheImports({{"cache-imports", R"([{"Type":"local","Attrs":{"src":"dir","digest":"sha256:x"}},{"Type":"gha"}])"},
                                          {"cache-from", "one,example.com/two:tag,"}});
  ASSERT_TRUE(imports.ok()) << imports.status();
  ASSERT_EQ(imports->size(), 4U);
  EXPECT_EQ(imports->at(0).type, "local");
  EXPECT_EQ(imports->at(0).attrs.at("src"), "dir");
  EXPECT_EQ(imports->at(1).type, "gha");
  EXPECT_EQ(imports->at(2).type, "registry");
  EXPECT_EQ(imports->at(2).attrs.at("ref"), "one");
  EXPECT_EQ(imports->at(3).attrs.at("ref"), "example.com/two:tag");
  EXPECT_TRUE(ParseCacheImports({})->empty());
}

TEST(CacheImportsTest, QuotesWhatItCannotRead) {
  EXPECT_EQ(std::string(ParseCacheImports({{"cache-imports", "{}"}}).status().message()),
            "failed to unmarshal cache-imports (\"{}\"): it is not an array");
  EXPECT_FALSE(ParseCacheImports({{"cache-imports", "[{\"Type\":1}]"}}).ok());
}

}  // namespace
}  // namespace cachalot::dockerfile
