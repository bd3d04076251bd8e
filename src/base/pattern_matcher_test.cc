#include "base/pattern_matcher.h"

#include <gtest/gtest.h>

#include "base/path.h"

namespace cachalot {
namespace {

bool Matches(const std::vector<std::string>& patterns, const std::string& path) {
  auto matcher = PatternMatcher::Create(patterns);
  EXPECT_TRUE(matcher.ok()) << matcher.status();
  return matcher.ok() && matcher->Matches(path);
}

TEST(PathTest, CleansAsGoDoes) {
  EXPECT_EQ(CleanPath(""), ".");
  EXPECT_EQ(CleanPath("a//b/./c/../d/"), "a/b/d");
  EXPECT_EQ(CleanPath("../../a"), "../../a");
  EXPECT_EQ(CleanPath("/../a"), "/a");
  EXPECT_EQ(CleanPath("a/../.."), "..");
  EXPECT_EQ(RootedPath("../x"), "/x");
  EXPECT_EQ(BaseName("/a/b/"), "b");
  EXPECT_EQ(DirName("a"), ".");
  EXPECT_EQ(DirName("/a"), "/");
  EXPECT_TRUE(IsBeneath("/a/b", "/a"));
  EXPECT_FALSE(IsBeneath("/ab", "/a"));
}

TEST(PatternMatcherTest, DecidesAsMobyDoes) {
  struct Case {
    const char* pattern;
    const char* path;
    bool match;
  };
  for (const Case& c : std::vector<Case>{
           {"**", "file", true},
           {"**", "dir/file", true},
           {"**/", "file", true},
           {"**/**", "a/b", true},
           {"dir/**", "dir/file", true},
           {"dir/**", "dir", false},
           {"dir/**", "dir/dir2/f", true},
           {"**/dir", "dir/file", true},
           {"**/dir2/*", "dir/dir2/f", true},
           {"**/dir2/**", "dir/dir2/d/f", true},
           {"**file", "file", true},
           {"**file", "dir/file", true},
           {"**/file", "dir/file", true},
           {"**/file", "afile", false},
           {"**/file*", "dir/file.txt", true},
           {"**/file*txt", "dir/dir/file.txt", true},
           {"**/file*.txt*", "dir/dir/file.txt", true},
           {"**/**/*.txt", "dir/dir/file.txt", true},
           {"**/**/*.txt2", "dir/dir/file.txt", false},
           {"**/*.txt", "file.txt", true},
           {"**/**/*.txt", "file.txt", true},
           {"a**/*.txt", "a/file.txt", true},
           {"a**/*.txt", "a/dir/file.txt", true},
           {"a/*.txt", "a/dir/file.txt", false},
           {"a/*.txt", "a/file.txt", true},
           {"a/*.txt**", "a/file.txt", true},
           {"a[b-d]e", "ae", false},
           {"a[b-d]e", "ace", true},
           {"a[b-d]e", "aae", false},
           {"a[^b-d]e", "aze", true},
           {".*", ".foo", true},
           {".*", "foo", false},
           {"abc.def", "abcdef", false},
           {"abc?def", "abcZdef", true},
           {"a\\*b", "a*b", true},
           {"a\\*b", "axb", false},
           {"**/foo/bar", "foo/bar", true},
           {"**/foo/bar", "d/foo/bar", true},
           {"abc/**", "abc/def/ghi", true},
           {"**/.foo", ".foo", true},
           {"**/.foo", "bar.foo", false},
           {"./bar/*", "bar/x", true},
           {"*c*", "bcd", true},
           {"?", "\xC3\xA9", true},
           {"docs", "docs/a/b", true},
       }) {
    EXPECT_EQ(Matches({c.pattern}, c.path), c.match) << c.pattern << " " << c.path;
  }
}

TEST(PatternMatcherTest, LaterPatternsDecide) {
  EXPECT_TRUE(Matches({"docs", "!docs/README"}, "docs/x"));
  EXPECT_FALSE(Matches({"docs", "!docs/README"}, "docs/README"));
  EXPECT_TRUE(Matches({"docs", "!docs/README", "docs/README*"}, "docs/README"));
  EXPECT_FALSE(Matches({"*", "!util"}, "util/a/b"));
  EXPECT_TRUE(Matches({"  ", "a "}, "a"));
  EXPECT_FALSE(PatternMatcher::Create({"!"}).ok());
  EXPECT_FALSE(PatternMatcher::Create({"[a"}).ok());
  EXPECT_FALSE(PatternMatcher::Create({"[]a]"}).ok());
  EXPECT_FALSE(PatternMatcher::Create({"a\\"}).ok());
}

TEST(PatternMatcherTest, WalkAgreesWithSingleQuestions) {
  auto matcher = PatternMatcher::Create({"a/*", "!a/b", "**/c"});
  ASSERT_TRUE(matcher.ok());
  PatternMatcher::ParentMatches a, ab, abd;
  EXPECT_FALSE(matcher->Matches("a", {}, &a));
  EXPECT_FALSE(matcher->Matches("a/b", a, &ab));
  EXPECT_EQ(matcher->Matches("a/b/d", ab, &abd), matcher->Matches("a/b/d"));
  EXPECT_EQ(matcher->Matches("a/b/c", ab, nullptr), matcher->Matches("a/b/c"));
}

TEST(PatternMatcherTest, HostilePatternStaysLinear) {
  std::string stars, path(4000, 'a');
  for (int i = 0; i < 100; ++i) stars += "*a";
  EXPECT_FALSE(Matches({stars + "b"}, path));
}

TEST(GlobTest, AsFilepathMatch) {
  EXPECT_TRUE(*MatchGlob("a*b", "axxb"));
  EXPECT_FALSE(*MatchGlob("a*", "a/b"));
  EXPECT_FALSE(*MatchGlob("**", "a/b"));
  EXPECT_TRUE(*MatchGlob("/src/*.go", "/src/a.go"));
  EXPECT_TRUE(HasWildcards("a[b]"));
  EXPECT_FALSE(HasWildcards("a\\*"));
}

}  // namespace
}  // namespace cachalot
