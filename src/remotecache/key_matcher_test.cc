// What is exported must be found again: by the same keys, by content, by what is known of a definition.
#include "remotecache/key_matcher.h"

#include "gtest/gtest.h"
#include "remotecache/keys_testing.h"
#include "remotecache/record_graph.h"

namespace cachalot::remotecache {
namespace {

using solver::CacheKeyPtr;

ResultChain Chain(const std::vector<std::string>& layers) {
  ResultChain chain;
  for (const std::string& layer : layers) chain.blobs.push_back(oci::Digest::Of(layer));
  chain.created_at = absl::FromUnixSeconds(1700000000);
  return chain;
}

// The topmost blob of the only result.
std::string ResultOf(KeyMatcher& matcher, const CacheKeyPtr& key, int output = 0) {
  const std::vector<int> found = matcher.Find(key, output);
  if (found.size() != 1) return found.empty() ? "none" : "several";
  const Record& record = matcher.config().records[found[0]];
  if (record.results.empty()) return "no result";
  return matcher.config().layers[record.results[0].layer].blob.str();
}

std::string Blob(const std::string& text) { return oci::Digest::Of(text).str(); }

TEST(KeyMatcherTest, FindsAChainOfStepsByTheirKeys) {
  const CacheKeyPtr image = SourceKey("image", {"image by manifest"});
  const CacheKeyPtr run = StepKey("run", {From(image)});
  const CacheKeyPtr top = StepKey("top", {From(run, 1)});
  RecordGraph graph;
  graph.Add(top, 0);
  EXPECT_EQ(graph.places().size(), 2U);
  graph.SetResult({run, 1}, Chain({"base", "run"}));
  graph.SetResult({top, 0}, Chain({"base", "run", "top"}));
  const absl::StatusOr<CacheConfig> read = ParseCacheConfig(Serialize(graph.Build()));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->records.size(), 4U) << "two for the image, which is known by two digests";
  EXPECT_EQ(read->layers.size(), 3U) << "layers are shared";

  KeyMatcher matcher(*read);
  EXPECT_EQ(ResultOf(matcher, top), Blob("top"));
  EXPECT_EQ(ResultOf(matcher, run, 1), Blob("run"));
  EXPECT_EQ(ResultOf(matcher, run, 0), "none") << "another output";
  EXPECT_EQ(ResultOf(matcher, StepKey("run", {From(SourceKey("image by manifest"), 0)}), 1), Blob("run"));
  EXPECT_EQ(ResultOf(matcher, StepKey("run", {From(SourceKey("another image"))}), 1), "none");
}

TEST(KeyMatcherTest, SomeOfAKeyTellsWhatCannotBeThere) {
  const CacheKeyPtr base = SourceKey("base"), stage = SourceKey("stage"), another = SourceKey("another");
  const CacheKeyPtr copy = StepKey("copy", {From(base), Reading(stage, "/src", "files")});
  RecordGraph graph;
  graph.Add(copy, 0);
  graph.SetResult({copy, 0}, Chain({"base", "copy"}));
  KeyMatcher matcher(graph.Build());
  const auto fits = [&](solver::KeyInput below, solver::KeyInput files, int output = 0) {
    return matcher.AnyFits({"copy", {}, {std::move(below), std::move(files)}}, {output});
  };
  const solver::KeyInput unknown{nullptr, 0, "", false, ""};
  EXPECT_TRUE(fits(unknown, unknown));
  EXPECT_TRUE(fits(From(base), unknown));
  EXPECT_TRUE(fits(unknown, Reading(stage, "/src", "")));
  EXPECT_TRUE(fits(unknown, Reading(another, "/src", "files")));
  EXPECT_TRUE(fits(From(base), Reading(nullptr, "", "files")));
  EXPECT_FALSE(fits(unknown, unknown, 1)) << "another output";
  EXPECT_FALSE(fits(From(another), unknown));
  EXPECT_FALSE(fits(unknown, Reading(another, "/src", "")));
  EXPECT_FALSE(fits(unknown, Reading(another, "/src", "other files")));
  EXPECT_FALSE(fits(From(another), Reading(nullptr, "", "files")));
  EXPECT_FALSE(matcher.AnyFits({"move", {}, {unknown}}, {0}));
}

TEST(KeyMatcherTest, ContentMatchesWhereverItComesFrom) {
  const CacheKeyPtr base = SourceKey("base");
  const CacheKeyPtr copy = StepKey("copy", {From(base), Reading(LocalKey("session 1"), "/src", "files")});
  RecordGraph graph;
  graph.Add(copy, 0);
  graph.SetResult({copy, 0}, Chain({"base", "copy"}));
  KeyMatcher matcher(graph.Build());
  EXPECT_EQ(matcher.config().records.size(), 3U) << "the base, the content, the copy; not the session";
  EXPECT_EQ(ResultOf(matcher, StepKey("copy", {From(base), Reading(LocalKey("session 2"), "/src", "files")})), Blob("copy"));
  EXPECT_EQ(ResultOf(matcher, StepKey("copy", {From(base), Reading(LocalKey("session 2"), "/src", "other files")})), "none");
  EXPECT_EQ(ResultOf(matcher, StepKey("copy", {From(SourceKey("x")), Reading(LocalKey("session 1"), "/src", "files")})), "none");
}

TEST(KeyMatcherTest, ADefinitionTellsWhatItReads) {
  const CacheKeyPtr stage = StepKey("stage", {From(SourceKey("image"))});
  const CacheKeyPtr copy = StepKey("copy", {Reading(stage, "/out", "files")});
  RecordGraph graph;
  graph.Add(copy, 0);
  KeyMatcher matcher(graph.Build());
  const CacheKeyPtr definition = StepKey("copy", {Reading(stage, "/out", "")});
  const auto contents = matcher.ContentsOf(definition, {0});
  ASSERT_TRUE(contents.has_value());
  EXPECT_EQ(*contents, (std::vector<std::string>{solver::RecordDigest("files", -1)}));
  EXPECT_EQ(solver::WithContents(*definition, false, *contents)->id, copy->id);
  EXPECT_FALSE(matcher.ContentsOf(StepKey("copy", {Reading(stage, "/elsewhere", "")}), {0}).has_value());
  EXPECT_FALSE(matcher.ContentsOf(definition, {1}).has_value());
}

TEST(KeyMatcherTest, AResultWithoutContentsIsFoundByDefinition) {
  const CacheKeyPtr stage = StepKey("stage", {From(SourceKey("image"))});
  const CacheKeyPtr definition = StepKey("copy", {Reading(stage, "/out", "")});
  RecordGraph graph;
  graph.Add(definition, 0);
  EXPECT_FALSE(KeyMatcher(graph.Build()).ContentsOf(definition, {0}).has_value()) << "of no use";
  graph.SetResult({definition, 0}, Chain({"copy"}));
  KeyMatcher matcher(graph.Build());
  EXPECT_EQ(matcher.ContentsOf(definition, {0}), (std::vector<std::string>{""}));
  EXPECT_EQ(ResultOf(matcher, definition), Blob("copy"));
}

TEST(KeyMatcherTest, EveryWayToARecordIsExported) {
  const CacheKeyPtr one = StepKey("stage one", {From(SourceKey("image"))}), two = StepKey("stage two", {From(SourceKey("image"))});
  const CacheKeyPtr copy_one = StepKey("copy", {Reading(one, "/out", "same")}), copy_two = StepKey("copy", {Reading(two, "/out", "same")});
  RecordGraph graph;
  graph.Add(StepKey("both", {From(copy_one), From(copy_two)}), 0);
  graph.SetResult({copy_one, 0}, Chain({"copy"}));
  KeyMatcher matcher(graph.Build());
  for (const CacheKeyPtr& stage : {one, two}) {
    EXPECT_EQ(ResultOf(matcher, StepKey("copy", {Reading(stage, "/out", "")})), Blob("copy"));
  }
}

// A copy of what an equal copy made: by content they are one record, which must not lead to itself.
TEST(KeyMatcherTest, RecordsDoNotLoop) {
  const CacheKeyPtr image = SourceKey("image");
  const CacheKeyPtr first = StepKey("copy", {From(image), Reading(LocalKey("session"), "/foo", "foo")});
  const CacheKeyPtr run = StepKey("run", {From(first)});
  for (const CacheKeyPtr& between : {first, run}) {
    const CacheKeyPtr second = StepKey("copy", {From(image), Reading(between, "/foo", "foo")});
    RecordGraph graph;
    graph.Add(StepKey("final", {Reading(second, "/foo", "foo")}), 0);
    const absl::StatusOr<CacheConfig> read = ParseCacheConfig(Serialize(graph.Build()));
    EXPECT_TRUE(read.ok()) << read.status();
  }
}

TEST(KeyMatcherTest, TheOrderOfAddingDoesNotShow) {
  const CacheKeyPtr a = StepKey("a", {From(SourceKey("image"))}), b = StepKey("b", {From(SourceKey("image"))});
  RecordGraph first, second;
  first.Add(a, 0);
  first.Add(b, 0);
  second.Add(b, 0);
  second.Add(a, 0);
  for (RecordGraph* graph : {&first, &second}) graph->SetResult({a, 0}, Chain({"base", "a"}));
  for (RecordGraph* graph : {&second, &first}) graph->SetResult({b, 0}, Chain({"base", "b"}));
  EXPECT_EQ(Serialize(first.Build()), Serialize(second.Build()));
}

TEST(KeyMatcherTest, DeepKeysAreNoDeepStack) {
  CacheKeyPtr top = SourceKey("image");
  for (int i = 0; i < 20000; ++i) top = StepKey("run", {From(top)});
  RecordGraph graph;
  graph.Add(top, 0);
  graph.SetResult({top, 0}, Chain({"top"}));
  KeyMatcher matcher(graph.Build());
  EXPECT_EQ(ResultOf(matcher, top), Blob("top"));
}

}  // namespace
}  // namespace cachalot::remotecache
