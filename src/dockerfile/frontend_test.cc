#include "dockerfile/frontend.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cachalot/llb/state.h"
#include "dockerfile/shell/quote.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llb/source_error.h"
#include "nlohmann/json.hpp"
#include "oci/image.h"

namespace cachalot::dockerfile {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FakeRef : public llb::Ref {
 public:
  explicit FakeRef(llb::Edge edge) : edge_(std::move(edge)) {}
  const llb::Edge& edge() const override { return edge_; }
  absl::Status Evaluate(const CancelToken&) override { return absl::OkStatus(); }

 private:
  llb::Edge edge_;
};

// Local directories and images in memory.
class FakeBridge : public llb::FrontendBridge {
 public:
  std::map<std::string, std::map<std::string, std::string>> files;  // by identifier of the source
  std::map<std::string, std::string> images;                        // configurations by reference
  std::map<std::string, std::string> replacements;                  // of images, by source policies
  std::vector<std::string> log;
  std::vector<std::string> warnings;
  std::mutex mutex;

  absl::StatusOr<llb::FrontendResult> Solve(const llb::SolveRequest& request) override {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!request.frontend.empty()) return absl::NotFoundError(absl::StrCat("no frontend image ", request.options.at("source")));
    llb::FrontendResult result;
    const absl::StatusOr<llb::Edge> edge = llb::LoadDefinition(request.definition);
    if (!edge.ok()) return edge.status();
    result.ref = std::make_shared<FakeRef>(*edge);
    return result;
  }
  absl::StatusOr<llb::ResolvedImage> ResolveImage(const std::string& ref, const llb::ResolveOptions& options) override {
    const std::lock_guard<std::mutex> lock(mutex);
    log.push_back(options.log_name);
    if (const auto other = replacements.find(ref); other != replacements.end()) {
      absl::Status status = absl::FailedPreconditionError(absl::StrCat("turned into ", other->second));
      status.SetPayload(llb::kOtherSourcePayload, absl::Cord(other->second));
      return status;
    }
    const auto image = images.find(ref);
    if (image == images.end()) return absl::NotFoundError(absl::StrCat("failed to resolve source metadata for ", ref, ": not found"));
    return llb::ResolvedImage{ref, oci::Digest::Of(image->second), image->second};
  }
  absl::StatusOr<llb::ResolvedSource> ResolveSource(const llb::SourceOp& source, const llb::ResolveOptions&) override {
    llb::ResolvedSource resolved;
    resolved.source = source;
    resolved.time = absl::FromUnixSeconds(1000);
    return resolved;
  }
  absl::StatusOr<std::string> ReadFile(const llb::RefPtr& ref, const std::string& path, std::int64_t, std::int64_t) override {
    const auto& source = std::get<llb::SourceOp>(ref->edge().vertex->op);
    const std::lock_guard<std::mutex> lock(mutex);
    const auto& tree = files[source.identifier];
    const auto file = tree.find(path);
    if (file == tree.end()) return absl::NotFoundError(absl::StrCat(path, ": no such file or directory"));
    return file->second;
  }
  absl::StatusOr<std::vector<llb::FileStat>> ReadDir(const llb::RefPtr&, const std::string&, const std::string&) override {
    return absl::UnimplementedError("ReadDir");
  }
  absl::StatusOr<llb::FileStat> StatFile(const llb::RefPtr&, const std::string&) override { return absl::UnimplementedError("StatFile"); }
  void Warn(solver::WarningEvent warning) override { warnings.push_back(warning.brief); }
  oci::Platform default_platform() const override { return {"linux", "amd64", "", "", {}}; }
  CancelToken cancel() const override { return {}; }
};

std::string Image(absl::string_view config) {
  return absl::StrCat(R"({"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"])", config.empty() ? "" : ",", config,
                      R"(},"rootfs":{"type":"layers","diff_ids":["sha256:)", std::string(64, '1'), R"("]},"history":[{"created_by":"base"}]})");
}

// A readable, stable form of a graph: one line per vertex, inputs first.
class GraphDump {
 public:
  std::string Dump(const llb::Edge& edge) {
    if (edge.vertex == nullptr) return "scratch\n";
    Visit(edge.vertex);
    return out_;
  }

 private:
  int Visit(const llb::VertexPtr& vertex) {
    if (const auto known = numbers_.find(vertex.get()); known != numbers_.end()) return known->second;
    std::vector<std::string> inputs;
    for (const llb::Edge& input : vertex->inputs) {
      const int number = Visit(input.vertex);
      inputs.push_back(input.output == 0 ? absl::StrCat(number) : absl::StrCat(number, ".", input.output));
    }
    const int number = numbers_[vertex.get()] = static_cast<int>(numbers_.size());
    const auto name = vertex->metadata.description.find("llb.customname");
    absl::StrAppend(&out_, number, " (", absl::StrJoin(inputs, " "), ") ", name == vertex->metadata.description.end() ? "-" : GoQuote(name->second));
    for (const llb::SourceLocation& location : vertex->locations) {
      for (const solver::SourceRange& range : location.ranges) absl::StrAppend(&out_, " @", range.start_line);
    }
    if (vertex->metadata.ignore_cache) absl::StrAppend(&out_, " ignore-cache");
    out_ += "\n";
    std::visit([this](const auto& op) { Describe(op); }, vertex->op);
    return number;
  }

  void Describe(const llb::SourceOp& source) {
    absl::StrAppend(&out_, "    ", source.identifier);
    for (const auto& [name, value] : source.attrs) absl::StrAppend(&out_, " ", name, "=", value);
    out_ += "\n";
  }
  void Describe(const llb::ExecOp& exec) {
    absl::StrAppend(&out_, "    run ", GoQuote(exec.meta.args), " in ", exec.meta.cwd, " env ", GoQuote(exec.meta.env));
    if (!exec.meta.user.empty()) absl::StrAppend(&out_, " user ", exec.meta.user);
    if (exec.network != llb::NetMode::kSandbox) absl::StrAppend(&out_, " network ", static_cast<int>(exec.network));
    out_ += "\n";
    for (const llb::Mount& mount : exec.mounts) {
      absl::StrAppend(&out_, "    mount ", static_cast<int>(mount.type), " ", mount.dest, " from ", mount.input, mount.selector,
                      mount.readonly ? " ro" : "", mount.output >= 0 ? absl::StrCat(" out ", mount.output) : "",
                      mount.cache.id.empty() ? "" : absl::StrCat(" cache ", mount.cache.id),
                      mount.secret.id.empty() ? "" : absl::StrCat(" secret ", mount.secret.id), "\n");
    }
  }
  void Describe(const llb::FileOp& file) {
    for (const llb::FileAction& action : file.actions) {
      absl::StrAppend(&out_, "    ", action.input, "+", action.secondary_input, "->", action.output, " ");
      std::visit([this](const auto& one) { DescribeAction(one); }, action.action);
      out_ += "\n";
    }
  }
  void DescribeAction(const llb::FileCopy& copy) {
    absl::StrAppend(&out_, "copy ", copy.src, " ", copy.dest, copy.mode >= 0 ? absl::StrCat(" mode ", copy.mode) : "",
                    copy.follow_symlink ? " follow" : "", copy.dir_copy_contents ? " contents" : "", copy.attempt_unpack ? " unpack" : "",
                    copy.create_dest_path ? " mkdir" : "", copy.allow_wildcard ? " wildcard" : "",
                    copy.include_patterns.empty() ? "" : absl::StrCat(" include ", GoQuote(copy.include_patterns)),
                    copy.exclude_patterns.empty() ? "" : absl::StrCat(" exclude ", GoQuote(copy.exclude_patterns)));
    DescribeOwner(copy.owner);
  }
  void DescribeAction(const llb::FileMkfile& mkfile) { absl::StrAppend(&out_, "mkfile ", mkfile.path, " ", mkfile.mode, " ", GoQuote(mkfile.data)); }
  void DescribeAction(const llb::FileMkdir& mkdir) {
    absl::StrAppend(&out_, "mkdir ", mkdir.path, " ", mkdir.mode, mkdir.make_parents ? " parents" : "");
    DescribeOwner(mkdir.owner);
  }
  template <typename Other>
  void DescribeAction(const Other&) {
    absl::StrAppend(&out_, "other");
  }
  void DescribeOwner(const llb::Chown& owner) {
    for (const auto& side : {owner.user, owner.group}) {
      if (side.has_value()) absl::StrAppend(&out_, " owner ", side->name.has_value() ? *side->name : absl::StrCat(side->id));
    }
  }
  template <typename Other>
  void Describe(const Other&) {
    absl::StrAppend(&out_, "    other operation ", std::is_same_v<Other, llb::MergeOp> ? "merge" : "", "\n");
  }

  std::string out_;
  std::map<const llb::Vertex*, int> numbers_;
};

class FrontendTest : public ::testing::Test {
 protected:
  FrontendTest() {
    bridge_.images["docker.io/library/debian:12"] = Image("");
    bridge_.images["docker.io/library/busybox:latest"] = Image(R"("Cmd":["sh"],"WorkingDir":"/home")");
  }

  absl::StatusOr<llb::FrontendResult> Build(absl::string_view dockerfile, std::map<std::string, std::string> options = {}) {
    bridge_.files["local://dockerfile"]["Dockerfile"] = std::string(dockerfile);
    return NewFrontend()->Run(bridge_, options, {});
  }

  std::string Graph(absl::string_view dockerfile, const std::map<std::string, std::string>& options = {}) {
    const absl::StatusOr<llb::FrontendResult> result = Build(dockerfile, options);
    if (!result.ok()) return absl::StrCat("error: ", result.status().message());
    return GraphDump().Dump(result->ref->edge());
  }

  std::string Error(absl::string_view dockerfile, const std::map<std::string, std::string>& options = {}) {
    const absl::StatusOr<llb::FrontendResult> result = Build(dockerfile, options);
    if (result.ok()) return "ok";
    std::string text(result.status().message());
    if (const auto source = llb::SourceOf(result.status())) {
      for (const solver::SourceRange& range : source->ranges) absl::StrAppend(&text, " @", range.start_line);
    }
    return text;
  }

  oci::ImageConfig Config(absl::string_view dockerfile, const std::map<std::string, std::string>& options = {}) {
    const absl::StatusOr<llb::FrontendResult> result = Build(dockerfile, options);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *oci::ParseImageConfig(result->metadata.at("containerimage.config")) : oci::ImageConfig();
  }

  FakeBridge bridge_;
};

// tests/golden/dockerfile of the source tree that this program was built in.
std::filesystem::path GoldenDirectory() {
  for (std::filesystem::path dir = std::filesystem::canonical("/proc/self/exe").parent_path(); dir != dir.root_path(); dir = dir.parent_path()) {
    if (std::filesystem::is_directory(dir / "tests" / "golden")) return dir / "tests" / "golden" / "dockerfile";
  }
  return "tests/golden/dockerfile";
}

// Compares with tests/golden/dockerfile/<name>.txt; CACHALOT_ACCEPT=1 rewrites the file.
void ExpectGolden(const std::string& name, const std::string& actual) {
  const std::filesystem::path path = GoldenDirectory() / absl::StrCat(name, ".txt");
  if (const char* accept = std::getenv("CACHALOT_ACCEPT"); accept != nullptr && std::string(accept) == "1") {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << actual;
    return;
  }
  std::stringstream golden;
  golden << std::ifstream(path).rdbuf();
  EXPECT_EQ(actual, golden.str()) << "differs from " << path << "; CACHALOT_ACCEPT=1 accepts it";
}

TEST_F(FrontendTest, MultiStage) {
  bridge_.files["local://context"][".dockerignore"] = "# comment\n*.log\n!keep.log\n";
  ExpectGolden("multi_stage", Graph("ARG V=12\n"
                                    "FROM debian:$V AS build\n"
                                    "ARG NAME=world\n"
                                    "ENV GREETING=\"hello $NAME\"\n"
                                    "WORKDIR /src\n"
                                    "COPY --chown=1:2 a.c b* ./\n"
                                    "RUN make \\\n  all\n"
                                    "FROM debian:12 AS unused\n"
                                    "RUN never\n"
                                    "FROM busybox\n"
                                    "COPY --from=build /src/out /bin/\n"
                                    "CMD [\"/bin/out\"]\n"));
}

TEST_F(FrontendTest, ABadPatternOfAnIgnoreFileIsNamed) {
  bridge_.files["local://context"][".dockerignore"] = "# comment\n*.log\n![a\n";
  EXPECT_EQ(Error("FROM busybox\nCOPY . /\n"), ".dockerignore:3: ![a: syntax error in pattern");
  bridge_.files["local://dockerfile"]["Dockerfile.dockerignore"] = "[\n";
  EXPECT_EQ(Error("FROM busybox\nCOPY . /\n"), "Dockerfile.dockerignore:1: [: syntax error in pattern");
}

TEST_F(FrontendTest, Mounts) {
  ExpectGolden("mounts",
               Graph("FROM busybox AS tools\n"
                     "FROM debian:12\n"
                     "ARG ID=npm\n"
                     "RUN --mount=type=cache,id=$ID,target=/cache,uid=5 --mount=type=secret,id=token,env=TOKEN --mount=type=secret,id=file \\\n"
                     "    --mount=type=ssh --mount=from=tools,source=bin,target=/tools --mount=type=tmpfs,target=tmp \\\n"
                     "    --mount=target=/ctx,source=sub,rw --network=none build $TOKEN\n"));
}

TEST_F(FrontendTest, Heredocs) {
  ExpectGolden("heredocs", Graph("FROM debian:12\n"
                                 "ENV X=1\n"
                                 "RUN <<EOF\necho $X\necho b\nEOF\n"
                                 "RUN <<EOF\n#!/usr/bin/python\nprint(1)\nEOF\n"
                                 "RUN cat <<A - <<-B\na\nA\n\tb\n\tB\n"
                                 "COPY <<one <<\"two\" /dir/\nx=$X\none\nx=$X\ntwo\n"));
}

TEST_F(FrontendTest, AddSources) {
  ExpectGolden("add", Graph("FROM scratch\n"
                            "ADD --chmod=755 https://example.com/a/b.tar?x=1 /dl/\n"
                            "ADD https://example.com/r.git?tag=v1 /git\n"
                            "ADD --unpack=false --exclude=*.md x.tar y /z/\n"
                            "COPY --parents a/./b/* /p/\n"
                            "COPY --parents . c/./ /all/\n"
                            "COPY --link q /q\n"));
}

TEST_F(FrontendTest, ImageConfig) {
  const oci::ImageConfig image = Config(
      "FROM busybox\n"
      "ARG A=1\n"
      "ENV K=v PATH=/opt:$PATH\n"
      "LABEL l=\"x y\"\n"
      "EXPOSE 80 53/udp\n"
      "VOLUME /data\n"
      "USER 5:6\n"
      "STOPSIGNAL SIGTERM\n"
      "HEALTHCHECK --interval=1m CMD true\n"
      "SHELL [\"/bin/ash\", \"-c\"]\n"
      "RUN x\n"
      "ENTRYPOINT foo bar\n"
      "ONBUILD RUN y\n",
      {{"label:extra", "1"}});
  EXPECT_THAT(image.config.env, ElementsAre("PATH=/opt:/bin", "K=v"));
  EXPECT_THAT(image.config.exposed_ports, ElementsAre("53/udp", "80/tcp"));
  EXPECT_THAT(image.config.entrypoint, ElementsAre("/bin/ash", "-c", "foo bar"));
  EXPECT_TRUE(image.config.cmd.empty());
  EXPECT_EQ(image.config.labels.at("l"), "x y");
  EXPECT_EQ(image.config.labels.at("extra"), "1");
  EXPECT_EQ(image.config.user, "5:6");
  EXPECT_THAT(image.config.on_build, ElementsAre("RUN y"));
  std::vector<std::string> history;
  for (const oci::HistoryEntry& entry : image.history) history.push_back(absl::StrCat(entry.created_by, entry.empty_layer ? "" : " +"));
  EXPECT_THAT(history, ElementsAre("base +", "ARG A=1", "ENV K=v PATH=/opt:/bin", "LABEL l=x y", "EXPOSE [53/udp 80/tcp]", "VOLUME [/data]",
                                   "USER 5:6", "STOPSIGNAL SIGTERM",
                                   "HEALTHCHECK {Test:[CMD-SHELL true] Interval:1m0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
                                   "SHELL [/bin/ash -c]", "RUN |1 A=1 /bin/ash -c x # buildkit +", "ENTRYPOINT [\"/bin/ash\" \"-c\" \"foo bar\"]"));
}

TEST_F(FrontendTest, Errors) {
  EXPECT_EQ(Error("FROM busybox\n\nFROBNICATE x"), "dockerfile parse error on line 3: unknown instruction: FROBNICATE @3");
  EXPECT_EQ(Error("FROM busybox\nCOPY --from=nope a b"), "nope: failed to resolve source metadata for docker.io/library/nope:latest: not found @2");
  EXPECT_EQ(Error("FROM busybx"),
            "busybx: failed to resolve source metadata for docker.io/library/busybx:latest: not found (did you mean busybox?) @1");
  EXPECT_EQ(Error("FROM busybox AS build\nRUN a", {{"target", "biuld"}}), "target stage \"biuld\" could not be found (did you mean build?)");
  EXPECT_EQ(Error("FROM busybox AS a\nCOPY --from=b / /\nFROM busybox AS b\nCOPY --from=a / /"), "circular dependency detected on stage: a @2 @4");
  EXPECT_EQ(Error("FROM busybox AS a\nCOPY --from=b / /\nFROM busybox AS b", {{"target", "a"}}),
            "cannot copy from stage \"b\", it needs to be defined before current stage \"a\" @2");
  EXPECT_EQ(Error("FROM busybox\nCOPY --chmod=64a a b"), "invalid chmod parameter: '64a'. it should be octal string and between 0 and 07777 @2");
  EXPECT_EQ(Error("FROM $nothing"), "base name ($nothing) should not be blank @1");
  EXPECT_EQ(Error("# syntax=foobar\nFROM busybox"), "no frontend image foobar @1");
  EXPECT_EQ(Error("# syntax=docker/dockerfile:1\nFROM busybox"), "ok");
  EXPECT_EQ(Error("ARG x=1"), "dockerfile contains no stages to build");
  EXPECT_EQ(Error("FROM busybox\nSTOPSIGNAL SIGWHAT"), "invalid signal: SIGWHAT @2");
  EXPECT_THAT(Error("FROM busybox\nEXPOSE 99999"), HasSubstr("invalid containerPort: 99999"));
  std::string doubling = "FROM busybox\nENV a=0123456789\n";
  for (int i = 0; i < 24; ++i) doubling += "ENV a=$a$a\n";
  EXPECT_THAT(Error(doubling), HasSubstr("the expanded value exceeds"));
}

TEST_F(FrontendTest, MultiPlatform) {
  const absl::StatusOr<llb::FrontendResult> result =
      Build("FROM --platform=$BUILDPLATFORM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH\n", {{"platform", "linux/amd64,linux/arm64"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->ref, nullptr);
  ASSERT_EQ(result->refs.size(), 2u);
  EXPECT_EQ(result->metadata.at("refs.platforms"), R"({"Platforms":[{"ID":"linux/amd64","Platform":{"architecture":"amd64","os":"linux"}},)"
                                                   R"({"ID":"linux/arm64","Platform":{"architecture":"arm64","os":"linux"}}]})");
  EXPECT_EQ(oci::ParseImageConfig(result->metadata.at("containerimage.config/linux/arm64"))->platform.architecture, "arm64");
  EXPECT_THAT(GraphDump().Dump(result->refs.at("linux/arm64")->edge()), HasSubstr("[linux/amd64->arm64 2/2] RUN echo arm64"));
}

TEST_F(FrontendTest, NamedContexts) {
  ExpectGolden("named_contexts",
               Graph("FROM base AS b\nCOPY x /x\nCOPY --from=src /a /b /\nFROM busybox\nCOPY --from=b / /\n",
                     {{"context:base", "docker-image://debian:12"}, {"context:src", "local:srcdir"}, {"sharedkey:localdir:src", "key"}}));
}

TEST_F(FrontendTest, PoliciesMayTurnTheImageOfANamedContextIntoAnotherSource) {
  bridge_.replacements["docker.io/library/debian:12"] = "local://srcdir";
  const std::map<std::string, std::string> options = {{"context:base", "docker-image://debian:12"}};
  const std::string dockerfile = "FROM scratch\nCOPY --from=base /a /b\n";
  EXPECT_THAT(Graph(dockerfile, options), AllOf(HasSubstr("local://srcdir"), Not(HasSubstr("debian"))));
  bridge_.replacements["docker.io/library/debian:12"] = "docker-image://debian:12";
  EXPECT_THAT(std::string(Build(dockerfile, options).status().message()), HasSubstr("context recursion limit exceeded"));
}

TEST_F(FrontendTest, OnBuildTriggers) {
  bridge_.images["docker.io/library/trigger:latest"] = Image(R"("OnBuild":["COPY --from=busybox /bin/sh /sh","RUN trig"])");
  ExpectGolden("on_build", Graph("FROM trigger\nRUN own\n"));
}

TEST_F(FrontendTest, Warnings) {
  ASSERT_TRUE(Build("FROM busybox AS Base\nENV API_KEY=x\nWORKDIR rel\nCMD foo $undefined\nrun x $Y\nUSER $NOPE\n").ok());
  EXPECT_THAT(bridge_.warnings,
              ElementsAre("StageNameCasing: Stage name 'Base' should be lowercase (line 1)",
                          "ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase) (line 5)",
                          "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"API_KEY\") (line 2)",
                          "WorkdirRelativePath: Relative workdir \"rel\" can have unexpected results if the base image changes (line 3)",
                          "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 4)",
                          "UndefinedVar: Usage of undefined variable '$NOPE' (line 6)"));
}

TEST_F(FrontendTest, SourceDateEpoch) {
  const auto epoch = [&](absl::string_view dockerfile, std::map<std::string, std::string> options) {
    const absl::StatusOr<llb::FrontendResult> result = Build(dockerfile, std::move(options));
    if (!result.ok()) return std::string(result.status().message());
    const auto found = result->metadata.find("source.date.epoch");
    return found == result->metadata.end() ? "none" : found->second;
  };
  EXPECT_EQ(epoch("FROM scratch\nCOPY a b", {{"build-arg:SOURCE_DATE_EPOCH", "42"}}), "42");
  EXPECT_EQ(epoch("ARG SOURCE_DATE_EPOCH=7\nFROM scratch\nCOPY a b", {}), "7");
  EXPECT_EQ(epoch("ARG SOURCE_DATE_EPOCH=7\nFROM scratch\nCOPY a b", {{"build-arg:SOURCE_DATE_EPOCH", ""}}), "none");
  EXPECT_EQ(epoch("FROM scratch\nCOPY a b", {{"build-arg:SOURCE_DATE_EPOCH", "context"}}), "none");
  EXPECT_EQ(epoch("ARG SOURCE_DATE_EPOCH=when\nFROM scratch AS when\nADD https://example.com/r.git /\nFROM scratch\nCOPY a b", {}), "1000");
  EXPECT_EQ(epoch("ARG SOURCE_DATE_EPOCH=when\nFROM scratch AS when\nRUN x\nFROM scratch\nCOPY a b", {}),
            "SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported RUN instruction");
  EXPECT_EQ(epoch("FROM scratch\nCOPY a b", {{"build-arg:SOURCE_DATE_EPOCH", "not-a-timestamp"}}), "invalid SOURCE_DATE_EPOCH: not-a-timestamp");
}

TEST_F(FrontendTest, Targets) {
  const absl::StatusOr<llb::FrontendResult> result = Build("# a first one\nFROM busybox AS a\nFROM a\n", {{"requestid", "frontend.targets"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->metadata.at("result.txt"), "TARGET    DESCRIPTION\na         first one\n(default) \n");
  EXPECT_THAT(result->metadata.at("result.json"), HasSubstr("\"default\": true"));
}

TEST_F(FrontendTest, OutlineOfTarget) {
  const absl::StatusOr<llb::FrontendResult> result = Build(
      "ARG base=box\n# sfx is a suffix\nARG sfx=usy${base}\nFROM b${sfx} AS first\nARG FOO=1\nRUN --mount=type=secret,id=s,required true\n"
      "FROM scratch AS unused\nARG NO\n# last it is\nFROM scratch AS last\nCOPY --from=first / /\n",
      {{"requestid", "frontend.outline"}, {"build-arg:FOO", "2"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->metadata.at("result.txt"),
            "TARGET: last\nDESCRIPTION: it is\n\n"
            "BUILD ARG   VALUE    DESCRIPTION\nbase        box      \nsfx         usybox   is a suffix\nFOO         2        \n\n"
            "SECRET   REQUIRED\ns        true\n\n");
}

TEST_F(FrontendTest, ArgumentsOfOneLineAndOfSeveralStagesHaveAFixedOrder) {
  const std::string dockerfile =
      "FROM busybox AS z\nARG b=z a=z\nRUN echo $a$b\nFROM busybox AS y\nARG b=y a=y c=y\nRUN echo $a$b$c\n"
      "FROM scratch\nCOPY --from=y / /\nCOPY --from=z / /\n";
  for (int round = 0; round < 20; ++round) {
    const std::vector<std::string> garbage(static_cast<std::size_t>(round) * 100, std::string(100, 'x'));  // stages lie elsewhere each time
    const absl::StatusOr<llb::FrontendResult> result = Build(dockerfile, {{"requestid", "frontend.outline"}});
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->metadata.at("result.txt"),
              "BUILD ARG   VALUE   DESCRIPTION\na           y       \nb           y       \nc           y       \n\n");
  }
}

TEST_F(FrontendTest, FindingsCountAsErrorsInOutlinesToo) {
  const std::string dockerfile = "# check=error=true\nFROM busybox as x\nARG a\n";
  EXPECT_EQ(Build(dockerfile, {{"requestid", "frontend.outline"}}).status().message(), "lint violation found for rules: FromAsCasing");
  EXPECT_EQ(Build(dockerfile, {{"requestid", "frontend.convertllb"}}).status().message(), "lint violation found for rules: FromAsCasing");
  EXPECT_TRUE(Build(dockerfile, {{"requestid", "frontend.targets"}}).ok()) << "lists names, checks nothing";
}

TEST_F(FrontendTest, ConvertsToTheGraphThatABuildSolves) {
  const std::string dockerfile = "FROM busybox\nENV A=1\nCOPY x /x\nRUN make\n";
  const absl::StatusOr<llb::FrontendResult> built = Build(dockerfile);
  ASSERT_TRUE(built.ok()) << built.status();
  const absl::StatusOr<llb::FrontendResult> converted = Build(dockerfile, {{"requestid", "frontend.convertllb"}});
  ASSERT_TRUE(converted.ok()) << converted.status();
  EXPECT_EQ(converted->metadata.at("version"), "0.1.0");
  const auto json = nlohmann::json::parse(converted->metadata.at("result.json"));
  ASSERT_EQ(json["def"].size(), 5u) << "image, context, COPY, RUN, and the terminal operation";
  const llb::VertexPtr run = built->ref->edge().vertex;
  const auto& operation = json["def"][run->digest.str()];
  EXPECT_EQ(operation["exec"]["meta"]["args"].back(), "make");
  EXPECT_EQ(operation["inputs"][0]["digest"], run->inputs[0].vertex->digest.str());
  EXPECT_EQ(operation["platform"]["Architecture"], "amd64");
  EXPECT_EQ(json["metadata"][run->digest.str()]["description"]["llb.customname"], "[3/3] RUN make");
  EXPECT_EQ(json["source"]["infos"][0]["filename"], "Dockerfile");
}

TEST_F(FrontendTest, FindingsNameTheGraphThatTheDockerfileCameFrom) {
  const absl::StatusOr<llb::FrontendResult> result = Build("FROM busybox as x\n", {{"requestid", "frontend.lint"}});
  ASSERT_TRUE(result.ok()) << result.status();
  const auto source = nlohmann::json::parse(result->metadata.at("result.json"))["sources"][0];
  EXPECT_EQ(source["definition"]["def"].size(), 2u);
  EXPECT_EQ(source["definition"]["metadata"].size(), 2u);
}

TEST_F(FrontendTest, LintRequest) {
  const absl::StatusOr<llb::FrontendResult> result = Build("FROM busybox as x\nCOPY --from=9 a b\n", {{"requestid", "frontend.lint"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->metadata.at("result.statuscode"), "1");
  EXPECT_THAT(result->metadata.at("result.json"), HasSubstr("\"message\": \"invalid stage index 9\""));
  EXPECT_EQ(result->metadata.at("result.txt"),
            "\nWARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/\n'as' and 'FROM' keywords' casing do not match\n"
            "Dockerfile:1\n--------------------\n   1 | >>> FROM busybox as x\n   2 |     COPY --from=9 a b\n   3 |     \n--------------------\n");
  EXPECT_EQ(Build("FROM scratch", {{"requestid", "frontend.nope"}}).status().message(), "unsupported request frontend.nope");
}

}  // namespace
}  // namespace cachalot::dockerfile
