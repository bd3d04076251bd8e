#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "build/platform_check.h"
#include "build/provenance/capture.h"
#include "build/provenance/predicate.h"
#include "build/provenance/request_json.h"
#include "build/provenance/request_trace.h"
#include "cachalot/llb/file.h"
#include "cachalot/llb/run.h"
#include "cachalot/llb/source.h"
#include "cachalot/llb/state.h"
#include "oci/go_json.h"

namespace cachalot::build {
namespace {

using oci::Json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FakeRef final : public llb::Ref {
 public:
  explicit FakeRef(llb::Edge edge) : edge_(std::move(edge)) {}
  const llb::Edge& edge() const override { return edge_; }
  absl::Status Evaluate(const CancelToken&) override { return absl::OkStatus(); }

 private:
  const llb::Edge edge_;
};

llb::FrontendResult ResultOf(const llb::Edge& edge) {
  llb::FrontendResult result;
  result.ref = std::make_shared<FakeRef>(edge);
  return result;
}

const std::string& Digest() {
  static const std::string& digest = *new std::string("sha256:" + std::string(64, 'a'));
  return digest;
}

llb::Edge SomeGraph() {
  llb::ImageOptions image;
  image.constraints.For(*oci::ParsePlatform("linux/amd64"));
  llb::RunOptions run;
  run.Shlex("make").AddMount("/src", llb::Local("context"));
  return *llb::Image("busybox:latest", image).Run(run).Root().ToEdge();
}

std::string PinImages(const llb::Vertex& vertex) {
  const auto* source = std::get_if<llb::SourceOp>(&vertex.op);
  return source != nullptr && source->identifier.starts_with("docker-image") ? Digest() : "";
}

TEST(Capture, FindsWhatATreeIsMadeFrom) {
  Capture capture = CaptureGraph(SomeGraph(), PinImages, nullptr);
  ASSERT_EQ(capture.images.size(), 1);
  EXPECT_EQ(capture.images[0].ref, "docker.io/library/busybox:latest");
  EXPECT_EQ(capture.images[0].digest.str(), Digest());
  EXPECT_THAT(capture.locals, ElementsAre("context"));
  EXPECT_TRUE(capture.network_access);

  ConsultedImage by_digest = capture.images[0];
  by_digest.ref += "@" + Digest();
  capture.AddImage(by_digest);
  capture.AddImage(capture.images[0]);
  EXPECT_EQ(capture.images.size(), 2);
  capture.Tidy();
  ASSERT_EQ(capture.images.size(), 1);
  EXPECT_EQ(capture.images[0].ref, "docker.io/library/busybox:latest");
}

TEST(Capture, RequestsThroughProxiesAreMaterialsOrGaps) {
  const llb::Edge graph = SomeGraph();
  const std::string step = graph.vertex->digest.str();
  op::ProxyUse proxy;
  (*proxy.records.Lock())[step] = {{"GET", "http://a/old", 302, "http://a/new", "", ""},
                                   {"GET", "http://a/new", 200, "", Digest(), ""},
                                   {"POST", "http://a/form", 200, "", "", "method_not_materializable"}};
  Capture capture = CaptureGraph(graph, PinImages, &proxy);
  capture.Tidy();
  EXPECT_TRUE(capture.proxied);
  ASSERT_EQ(capture.http.size(), 2);
  EXPECT_EQ(capture.http[0].url, "http://a/new");
  EXPECT_EQ(capture.http[1].url, "http://a/old");
  EXPECT_EQ(capture.http[1].digest, Digest());
  ASSERT_EQ(capture.proxy_gaps.size(), 1);
  EXPECT_EQ(capture.proxy_gaps[0].name, "make");
  EXPECT_TRUE(capture.incomplete);
  const absl::Status status = CheckMaterials(capture);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("Uncaptured requests:\n  - make\n    method: POST\n    url: http://a/form\n    reason: method_"));
  const auto details = status.GetPayload("github.com/moby/buildkit/errdefs.ProvenanceMaterialsIncomplete+json");
  ASSERT_TRUE(details.has_value());
  EXPECT_EQ(oci::ParseJson(std::string(*details), "details")->at("incomplete").size(), 2) << "and the local source";
}

TEST(Capture, NeedsAreOptionalIfTheyAreEverywhere) {
  Capture capture, other;
  capture.AddSecret("token", true);
  capture.AddSsh("", true);
  other.AddSecret("token", false);
  other.AddSsh("default", true);
  capture.Merge(other);
  EXPECT_FALSE(capture.secrets.at("token"));
  EXPECT_TRUE(capture.ssh.at("default"));
}

TEST(Capture, MasksCredentials) {
  EXPECT_EQ(RedactUrl("https://user:pass@example.com/x.git#main"), "https://xxxxx:xxxxx@example.com/x.git#main");
  EXPECT_EQ(RedactUrl("https://user@example.com/"), "https://xxxxx@example.com/");
  EXPECT_EQ(RedactUrl("https://:pass@example.com/"), "https://:xxxxx@example.com/");
  EXPECT_EQ(RedactUrl("https://example.com/a@b"), "https://example.com/a@b");
  EXPECT_EQ(RedactUrl("user:pass@host"), "user:pass@host");
}

TEST(RequestTrace, KnowsTheInnermostProducer) {
  ProducerIndex index;
  const std::shared_ptr<RequestTrace> build = RequestTrace::OfBuild({"", {{"root", "1"}}, {}}, &index);
  const llb::FrontendResult result = ResultOf(SomeGraph());
  {
    const auto outer = build->AddNested({"gateway.v0", {{"source", "x"}}, {}});
    const auto inner = outer->AddNested({"dockerfile.v0", {{"target", "t"}}, {}});
    inner->AddResult(result);
    outer->AddResult(result);  // passed on
  }
  const std::shared_ptr<const RequestTrace> producer = build->FindProducer(result.ref);
  ASSERT_NE(producer, nullptr);
  EXPECT_EQ(producer->request()->frontend, "dockerfile.v0");
  EXPECT_EQ(producer->root().options.at("root"), "1");
  EXPECT_EQ(build->FindProducer(ResultOf(SomeGraph()).ref), nullptr);
  EXPECT_THAT(index.Find(result.ref->edge().vertex->digest), ElementsAre(producer));
}

TEST(RequestTrace, IsForgottenWithItsBuild) {
  ProducerIndex index;
  const llb::FrontendResult result = ResultOf(SomeGraph());
  RequestTrace::OfBuild({}, &index)->AddNested({"dockerfile.v0", {}, {}})->AddResult(result);
  EXPECT_TRUE(index.Find(result.ref->edge().vertex->digest).empty());
}

TEST(RequestJson, SplitsTheConfigSourceOff) {
  FrontendRequest request{"dockerfile.v0",
                          {{"context", "https://user:pw@example.com/repo.git#main:sub"},
                           {"filename", "Dockerfile"},
                           {"platform", "linux/amd64"},
                           {"attest:provenance", ""},
                           {"context:foo", "https://a:b@example.com/"},
                           {"target", "t"}},
                          {}};
  Capture capture;
  Json json = RequestJson(request, capture);
  EXPECT_EQ(oci::DumpGo(json), R"({"configSource":{"uri":"https://xxxxx:xxxxx@example.com/repo.git#main:sub","path":"Dockerfile"},)"
                               R"("request":{"frontend":"dockerfile.v0","args":{"context:foo":"https://xxxxx:xxxxx@example.com/","target":"t"}}})");
  request.options["context"] = "https://example.com/repo.git#main:sub";
  capture.git.push_back({"https://example.com/repo.git#main", std::string(40, 'c'), ""});
  json = RequestJson(request, capture);
  EXPECT_EQ(json["configSource"]["uri"], "https://example.com/repo.git#main:sub");
  EXPECT_EQ(json["configSource"]["digest"]["sha1"], std::string(40, 'c'));
}

TEST(RequestJson, NamesTheProducersOfInputs) {
  ProducerIndex index;
  const llb::Edge graph = SomeGraph();
  const std::shared_ptr<RequestTrace> build = RequestTrace::OfBuild({"", {{"root", "1"}}, {}}, &index);
  build->AddNested({"dockerfile.v0", {{"target", "base"}, {"build-arg:A", "1"}}, {}})->AddResult(ResultOf(graph));
  const auto consumer = build->AddNested({"dockerfile.v0", {{"label:l", "1"}}, {{"base", llb::SaveDefinition(graph)}}});
  Json json = ProducerJson(*consumer, {}, /*with_root=*/true);
  EXPECT_EQ(json["request"]["inputs"]["base"]["request"]["args"]["target"], "base");
  EXPECT_FALSE(json["request"]["inputs"]["base"]["request"].contains("root"));
  EXPECT_EQ(json["request"]["root"]["request"]["args"]["root"], "1");

  EXPECT_TRUE(ScrubRequest(json["request"]));
  EXPECT_FALSE(json["request"].contains("args"));
  EXPECT_EQ(json["request"]["inputs"]["base"]["request"]["args"].size(), 1);
  EXPECT_FALSE(ScrubRequest(json["request"]));
}

class PredicateTest : public ::testing::Test {
 protected:
  PredicateTest() {
    build_ = RequestTrace::OfBuild({}, &index_);
    tree_.edge = SomeGraph();
    tree_.capture = CaptureGraph(tree_.edge, PinImages, nullptr);
    tree_.producer = build_->AddNested({"dockerfile.v0", {{"build-arg:A", "1"}, {"vcs:source", "https://u:p@h/"}}, {}});
  }
  Json Make(const std::map<std::string, std::string>& attrs) {
    StepFacts steps;
    steps.usages[tree_.edge.vertex->digest.str()] = {{.cpu_user_us = 2, .cpu_system_us = 1, .memory_peak_bytes = 4096}, absl::FromUnixSeconds(2)};
    steps.layers = [](const llb::Vertex& vertex, int) {
      oci::Descriptor layer;
      layer.media_type = std::string(oci::kMediaTypeLayer);
      layer.digest = *oci::Digest::Parse(Digest());
      return std::holds_alternative<llb::ExecOp>(vertex.op) ? std::vector{layer} : std::vector<oci::Descriptor>();
    };
    const BuildFacts facts{"id", absl::FromUnixSeconds(1), "linux/amd64", "1.0", 20, R"({"foo":"bar"})"};
    const auto text = MakePredicate(*ParseProvenanceOptions(attrs), facts, tree_, absl::FromUnixSeconds(2), steps);
    EXPECT_TRUE(text.ok()) << text.status();
    return *oci::ParseJson(*text, "predicate");
  }

  ProducerIndex index_;
  std::shared_ptr<RequestTrace> build_;
  TreeProvenance tree_;
};

TEST_F(PredicateTest, TellsWhatStepsTookWhenAsked) {
  const auto usages = [&](const std::map<std::string, std::string>& attrs) {
    Json found = Json::array();
    const Json predicate = Make(attrs);
    for (const Json& step : predicate["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"]) {
      if (step.contains("resourceUsage")) found.push_back(step["resourceUsage"]);
    }
    return found;
  };
  EXPECT_TRUE(usages({}).empty());
  const Json found = usages({{"capture-usage", "true"}});
  ASSERT_EQ(found.size(), 1u);
  const Json& sample = found[0]["samples"].at(0);
  EXPECT_EQ(sample["cpuStat"]["usageNanos"], 3000);
  EXPECT_EQ(sample["memoryStat"]["peak"], 4096);
  EXPECT_FALSE(ParseProvenanceOptions({{"capture-usage", "perhaps"}}).ok());
}

TEST_F(PredicateTest, SaysEverythingByDefault) {
  const Json json = Make({{"builder-id", "me"}, {"reproducible", "true"}});
  const Json& definition = json["buildDefinition"];
  EXPECT_EQ(definition["resolvedDependencies"][0]["uri"], "pkg:docker/busybox@latest?platform=linux%2Famd64");
  EXPECT_EQ(definition["resolvedDependencies"][0]["digest"]["sha256"], std::string(64, 'a'));
  const Json& request = definition["externalParameters"]["request"];
  EXPECT_EQ(request["args"].dump(), R"({"build-arg:A":"1"})");
  EXPECT_EQ(request["locals"][0]["name"], "context");
  EXPECT_EQ(request["compatibilityVersion"], 20);
  const Json& internal = definition["internalParameters"];
  EXPECT_EQ(internal["dockerfileVersion"], "1.0");
  EXPECT_EQ(internal["foo"], "bar");
  const Json& steps = internal["buildConfig"]["llbDefinition"];
  ASSERT_EQ(steps.size(), 4);
  EXPECT_EQ(steps[0]["op"]["Op"]["source"]["identifier"], "docker-image://docker.io/library/busybox:latest");
  EXPECT_EQ(steps[2]["op"]["Op"]["exec"]["meta"]["args"][0], "make");
  EXPECT_EQ(steps[3]["inputs"][0], "step2:0");
  EXPECT_EQ(internal["buildConfig"]["digestMapping"].size(), 4);
  const Json& metadata = json["runDetails"]["metadata"];
  EXPECT_EQ(metadata["startedOn"], "1970-01-01T00:00:01Z");
  EXPECT_EQ(metadata["finishedOn"], "1970-01-01T00:00:02Z");
  EXPECT_EQ(metadata["buildkit_metadata"]["vcs"]["source"], "https://xxxxx:xxxxx@h/");
  EXPECT_EQ(metadata["buildkit_metadata"]["layers"]["step2:0"][0][0]["digest"], Digest());
  EXPECT_EQ(metadata["buildkit_completeness"].dump(), R"({"request":true,"resolvedDependencies":false})");
  EXPECT_TRUE(metadata["buildkit_reproducible"]);
  EXPECT_EQ(json["runDetails"]["builder"]["id"], "me");
}

TEST_F(PredicateTest, MinLeavesOutGraphAndArguments) {
  const Json json = Make({{"mode", "min"}, {"version", "v0.2"}});
  EXPECT_EQ(json["buildType"], "https://mobyproject.org/buildkit@v1");
  EXPECT_FALSE(json.contains("buildConfig"));
  EXPECT_FALSE(json["invocation"]["parameters"].contains("args"));
  EXPECT_EQ(json["invocation"]["environment"]["platform"], "linux/amd64");
  EXPECT_EQ(json["metadata"]["completeness"].dump(), R"({"parameters":false,"environment":true,"materials":false})");
  EXPECT_FALSE(json["metadata"]["https://mobyproject.org/buildkit@v1#metadata"].contains("layers"));
}

TEST(ProvenanceOptions, NameWhatIsWrong) {
  EXPECT_EQ(ParseProvenanceOptions({{"mode", "x"}}).status().message(), "invalid mode \"x\"");
  EXPECT_EQ(ParseProvenanceOptions({{"version", "v2"}}).status().message(), "invalid provenance SLSA version: v2");
  EXPECT_FALSE(ParseProvenanceOptions({{"reproducible", "x"}}).ok());
  Capture capture;
  EXPECT_TRUE(CheckMaterials(capture).ok());
  capture.locals.insert("context");
  EXPECT_THAT(std::string(CheckMaterials(capture).message()), HasSubstr("\n  - context\n    reason: local_source"));
}

TEST(PlatformCheck, ComparesWhatWasAskedFor) {
  const auto warnings = [](const std::string& wanted, const std::vector<std::string>& got, bool multi) {
    exporting::Source source;
    source.multi_platform = multi;
    for (const std::string& platform : got) source.platforms.push_back({platform, *oci::ParsePlatform(platform), nullptr, ""});
    llb::FrontendResult result;
    result.metadata["refs.platforms"] = "{}";
    return PlatformWarnings({{"platform", wanted}}, result, source);
  };
  EXPECT_TRUE(warnings("linux/amd64", {"linux/amd64"}, false).empty());
  EXPECT_TRUE(warnings("windows/amd64", {"windows(10.0)/amd64"}, false).empty());
  EXPECT_TRUE(warnings("linux/arm64,linux/amd64", {"linux/amd64", "linux/arm64"}, true).empty());
  EXPECT_THAT(warnings("linux/arm64", {"linux/amd64"}, false),
              ElementsAre("Requested platform \"linux/arm64\" does not match result platform \"linux/amd64\""));
  EXPECT_THAT(warnings("linux/amd64,linux/amd64", {"linux/amd64"}, true), ElementsAre("Duplicate platform result requested \"linux/amd64\""));
  EXPECT_THAT(warnings("linux/amd64,linux/arm64", {"linux/amd64"}, false),
              ElementsAre("Multiple platforms requested but result is not multi-platform"));
  EXPECT_THAT(warnings("linux/amd64,linux/arm64", {"linux/amd64", "linux/s390x"}, true),
              ElementsAre("Requested platforms linux/amd64,linux/arm64 do not match result platforms linux/amd64,linux/s390x"));
}

}  // namespace
}  // namespace cachalot::build
