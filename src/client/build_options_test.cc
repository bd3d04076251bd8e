#include "client/build_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace cachalot::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// The options with one of them set.
template <typename Value>
absl::Status Check(Value BuildOptions::*member, Value value) {
  BuildOptions options;
  options.*member = std::move(value);
  const auto outputs = CollectOutputs(options);
  return outputs.ok() ? MakeRequest(options, *outputs).status() : outputs.status();
}

TEST(BuildOptions, NamesMustBeReferences) {
  for (const char* name : {"BAD NAME", "Foo/Bar", "a:b:c", "a@sha256:1", "", "a//b", ":tag", "a:-", "-a"}) {
    EXPECT_THAT(Message(Check(&BuildOptions::tags, {"good", name})), HasSubstr(absl::StrCat("invalid tag \"", name, "\": "))) << name;
  }
  for (const char* name : {"a", "a:b", "localhost:5000/a/b:c", "a__b/c-d.e:V_1.2-x", "docker.io/library/busybox"}) {
    EXPECT_TRUE(Check(&BuildOptions::tags, {name}).ok()) << name;
  }
  const std::string digest = absl::StrCat("a@sha256:", std::string(64, 'a'));
  EXPECT_THAT(Message(Check(&BuildOptions::tags, {digest})), HasSubstr("refusing to create a tag with a digest reference"));
}

TEST(BuildOptions, Outputs) {
  BuildOptions options;
  options.outputs = {"type=cacheonly"};
  options.tags = {"a"};
  EXPECT_TRUE(CollectOutputs(options).value().empty());
  EXPECT_THAT(Message(Check(&BuildOptions::outputs, {"type=oci", "type=tar"})), HasSubstr("two outputs have the same destination \"-\""));
  EXPECT_TRUE(Check(&BuildOptions::outputs, {"type=oci,dest=a", "type=tar,dest=b", "c"}).ok());
}

TEST(BuildOptions, ProvenanceIsChecked) {
  const auto provenance = [](const char* text) { return Check(&BuildOptions::provenance, {text}); };
  for (const char* text : {"true", "false", "1", "mode=max", "mode=min,reproducible=true", "mode=max,version=v1"})
    EXPECT_TRUE(provenance(text).ok()) << text;
  EXPECT_THAT(Message(provenance("maximal")), HasSubstr("invalid value \"maximal\" in --provenance=maximal"));
  EXPECT_THAT(Message(provenance("mode=most")), HasSubstr("invalid mode \"most\""));
  EXPECT_THAT(Message(provenance("mode=max,disabled=perhaps")), HasSubstr("invalid value \"perhaps\" of disabled"));
  EXPECT_FALSE(Check(&BuildOptions::attestations, {"mode=max"}).ok());
  EXPECT_FALSE(Check(&BuildOptions::attestations, {"type=unheard-of"}).ok());
  BuildOptions options;
  options.attestations = {"type=provenance,disabled=true"};
  EXPECT_FALSE(MakeRequest(options, {}).value().frontendattrs().contains("attest:provenance"));
}

TEST(BuildOptions, Annotations) {
  EXPECT_THAT(ParseAnnotation("a.b=c=d").value(), ElementsAre(Pair("annotation.a.b", "c=d")));
  EXPECT_THAT(ParseAnnotation("index,manifest[linux/arm/v7]:a=").value(),
              ElementsAre(Pair("annotation-index.a", ""), Pair("annotation-manifest[linux/arm/v7].a", "")));
  for (const char* text : {"a", "=b", "", "index:=b"}) EXPECT_THAT(Message(ParseAnnotation(text).status()), HasSubstr("expected key=value")) << text;
  EXPECT_THAT(Message(ParseAnnotation("layer:a=b").status()), HasSubstr("unknown annotation type \"layer\""));
  EXPECT_FALSE(ParseAnnotation("manifest[linux:a=b").ok());
  EXPECT_FALSE(ParseAnnotation("manifest[nowhere/nothing/else/at all]:a=b").ok());
  EXPECT_FALSE(Check(&BuildOptions::annotations, {"bad"}).ok()) << "also without an output";
}

TEST(BuildOptions, SshTakesSocketsAndKeys) {
  EXPECT_THAT(ParseSsh("default").value().paths, ElementsAre());
  const SshAgent keys = ParseSsh("github=/k/one,/k/two").value();
  EXPECT_EQ(keys.id, "github");
  EXPECT_THAT(keys.paths, ElementsAre("/k/one", "/k/two"));
  EXPECT_TRUE(ParseSsh("id=/s,raw=true").value().raw);
  EXPECT_FALSE(ParseSsh("id=/s,raw=often").ok());
}

TEST(BuildOptions, PlatformsMustExist) {
  EXPECT_TRUE(Check(&BuildOptions::platforms, {"linux/amd64,linux/arm64", "linux/arm/v7"}).ok());
  EXPECT_FALSE(Check(&BuildOptions::platforms, {"linux/amd64/v2/x/y"}).ok());
}

}  // namespace
}  // namespace cachalot::client
