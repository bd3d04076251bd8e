#include "dockerfile/instructions/reader.h"

#include "absl/strings/str_cat.h"
#include "dockerfile/instructions/values.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cachalot::dockerfile {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<Program> Read(absl::string_view text, const Linter& linter = {}) {
  const absl::StatusOr<File> file = ParseFile(text);
  if (!file.ok()) return file.status();
  return ReadProgram(*file, linter);
}

std::string Error(absl::string_view text) {
  const absl::StatusOr<Program> program = Read(text);
  return program.ok() ? "ok" : std::string(program.status().message());
}

template <typename T>
T Body(absl::string_view text) {
  return std::get<T>(Read(absl::StrCat("FROM a\n", text))->stages.at(0).instructions.at(0).body);
}

TEST(Reader, Stages) {
  const absl::StatusOr<Program> program =
      Read("# V the version\nARG V=1\n# base is it\nFROM --platform=$P x:$V AS Base\nRUN a\nFROM base\nCOPY --from=base --link a b c/\n");
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_EQ(std::get<ArgInstruction>(program->global_args.at(0).body).args.at(0).description, "the version");
  ASSERT_EQ(program->stages.size(), 2u);
  EXPECT_EQ(program->stages[0].name, "base");
  EXPECT_EQ(program->stages[0].description, "is it");
  EXPECT_EQ(program->stages[0].platform, "$P");
  EXPECT_EQ(program->stages[1].base, "base");
  const auto& copy = std::get<CopyInstruction>(program->stages[1].instructions.at(0).body);
  EXPECT_TRUE(copy.link);
  EXPECT_EQ(copy.from, "base");
  EXPECT_THAT(copy.paths.sources, ElementsAre("a", "b"));
  EXPECT_EQ(copy.paths.dest, "c/");
}

TEST(Reader, Errors) {
  EXPECT_EQ(Error("FROM a\nFROBNICATE b"), "dockerfile parse error on line 2: unknown instruction: FROBNICATE");
  EXPECT_EQ(Error("FROM a\n\nCOPPY b c"), "dockerfile parse error on line 3: unknown instruction: COPPY (did you mean COPY?)");
  EXPECT_EQ(Error("FROM a\nworkdirr b"), "dockerfile parse error on line 2: unknown instruction: workdirr (did you mean workdir?)");
  EXPECT_EQ(Error("FROM a b"), "dockerfile parse error on line 1: FROM requires either one or three arguments");
  EXPECT_EQ(Error("FROM a AS 1x"),
            "dockerfile parse error on line 1: invalid name for build stage: \"1x\", name can't start with a number or contain symbols");
  EXPECT_EQ(Error("RUN x\nFROM a"), "no build stage in current context");
  EXPECT_THAT(Error("FROM a\nCOPY x"),
              HasSubstr("COPY requires at least two arguments, but only one was provided. Destination could not be determined"));
  EXPECT_THAT(Error("FROM a\nCOPY --form=x a b"), HasSubstr("unknown flag: --form (did you mean from?)"));
  EXPECT_THAT(Error("FROM a\nCOPY --link=maybe a b"), HasSubstr("expecting boolean value for flag --link, not: maybe"));
  EXPECT_THAT(Error("FROM a\nCOPY --from a b"), HasSubstr("missing a value on flag: --from"));
  EXPECT_THAT(Error("FROM a\nADD --chown=1 --chown=2 a b"), HasSubstr("duplicate flag specified: --chown"));
  EXPECT_THAT(Error("FROM a\nCOPY a <<E\nE"), HasSubstr("COPY cannot accept a heredoc as a destination"));
  EXPECT_THAT(Error("FROM a\nMAINTAINER --boo x"), HasSubstr("unknown flag: --boo"));
  EXPECT_THAT(Error("FROM a\nONBUILD FROM x"), HasSubstr("FROM isn't allowed as an ONBUILD trigger"));
  EXPECT_THAT(Error("FROM a\nONBUILD ONBUILD RUN x"), HasSubstr("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"));
  EXPECT_THAT(Error("FROM a\nSHELL bash"), HasSubstr("SHELL requires the arguments to be in JSON form"));
  EXPECT_THAT(Error("FROM a\nENV =x"), HasSubstr("ENV names can not be blank"));
  EXPECT_THAT(Error("FROM a\nHEALTHCHECK NONE x"), HasSubstr("HEALTHCHECK NONE takes no arguments"));
  EXPECT_THAT(Error("FROM a\nHEALTHCHECK --interval=50ns CMD x"), HasSubstr("Interval \"interval\" cannot be less than 1ms"));
  EXPECT_THAT(Error("FROM a\nHEALTHCHECK --retries=-1 CMD x"), HasSubstr("--retries cannot be negative (-1)"));
  EXPECT_THAT(Error("FROM a\nRUN --network=x y"), HasSubstr("invalid network mode \"x\""));
  EXPECT_THAT(Error("FROM a\nRUN --security=x y"), HasSubstr("security \"x\" is not valid"));
  EXPECT_THAT(Error("FROM a\nRUN --mount=from=$x,target=/y z"), HasSubstr("'from' doesn't support variable expansion, define alias stage instead"));
  EXPECT_THAT(LinesOf(Read("FROM a\nFOO \\\n b").status()), ElementsAre(Lines{2, 3}));
}

TEST(Reader, Commands) {
  const auto run = Body<RunInstruction>("RUN --mount=type=cache,target=/c --network=none echo  a");
  EXPECT_THAT(run.command.words, ElementsAre("echo  a"));
  EXPECT_EQ(run.network, "none");
  EXPECT_EQ(run.mounts.size(), 1u);
  const auto cmd = Body<CmdInstruction>("CMD [\"x\", \"y z\"]");
  EXPECT_FALSE(cmd.command.shell_form);
  EXPECT_THAT(cmd.command.words, ElementsAre("x", "y z"));
  const auto check = Body<HealthcheckInstruction>("HEALTHCHECK --interval=1m30s --retries=4 cmd foo  bar");
  EXPECT_THAT(check.test, ElementsAre("CMD-SHELL", "foo  bar"));
  EXPECT_EQ(check.interval, absl::Seconds(90));
  EXPECT_EQ(check.retries, 4);
  EXPECT_EQ(Body<OnbuildInstruction>("onbuild   RUN <<E\nx\nE").expression, "RUN <<E\nx\nE");
  EXPECT_THAT(Body<ExposeInstruction>("EXPOSE 90 80/udp").ports, ElementsAre("80/udp", "90"));
}

absl::StatusOr<RunMount> Mount(absl::string_view text) {
  const WordExpander expander = [](absl::string_view word) -> absl::StatusOr<std::string> { return std::string(word); };
  return ParseMount(text, &expander);
}

TEST(Mount, Options) {
  const absl::StatusOr<RunMount> cache = Mount("type=cache,target=/c,sharing=locked,id=x,uid=5,mode=0700");
  ASSERT_TRUE(cache.ok()) << cache.status();
  EXPECT_FALSE(cache->readonly);
  EXPECT_EQ(cache->sharing, "locked");
  EXPECT_EQ(cache->mode, 0700u);
  EXPECT_TRUE(Mount("target=/x")->readonly);
  EXPECT_FALSE(Mount("target=/x,rw")->readonly);
  EXPECT_TRUE(Mount("type=secret,id=a,required")->required);
  EXPECT_EQ(Mount("type=tmpfs,target=/x,size=64m")->size, 64 << 20);
  EXPECT_EQ(*Mount("type=secret,id=a,env=B")->env, "B");
  EXPECT_EQ(Mount("type=tmpfs,\"target=/a,b\"")->target, "/a,b");
}

TEST(Mount, Errors) {
  const auto error = [](absl::string_view text) { return std::string(Mount(text).status().message()); };
  EXPECT_EQ(error(""), "failed to parse csv mounts: EOF");
  EXPECT_EQ(error("type=cahce"), "unsupported mount type \"cahce\" (did you mean cache?)");
  EXPECT_EQ(error("targt=/x"), "unexpected key 'targt' in 'targt=/x' (did you mean target?)");
  EXPECT_EQ(error("nope"), "invalid field 'nope' must be a key=value pair");
  EXPECT_EQ(error("mode=1,target=/x"), "mode not allowed for \"bind\" type mounts");
  EXPECT_EQ(error("type=bind,required"), "unexpected key 'required' for mount type 'bind'");
  EXPECT_EQ(error("type=secret"), "invalid secret mount. one of source, target required");
  EXPECT_EQ(error("type=ssh,sharing=locked"), "invalid cache sharing set for ssh mount");
  EXPECT_EQ(error("type=cache,sharing=loked"), "unsupported sharing value \"loked\" (did you mean locked?)");
}

TEST(Values, GoFormats) {
  EXPECT_EQ(FormatGoDuration(absl::Hours(1)), "1h0m0s");
  EXPECT_EQ(FormatGoDuration(absl::Milliseconds(1500)), "1.5s");
  EXPECT_EQ(FormatGoDuration(absl::Milliseconds(500)), "500ms");
  EXPECT_EQ(FormatGoDuration(absl::ZeroDuration()), "0s");
  EXPECT_EQ(ParseGoDuration("5").status().message(), "time: missing unit in duration \"5\"");
  EXPECT_EQ(ParseGoDuration("x").status().message(), "time: invalid duration \"x\"");
  EXPECT_FALSE(ParseGoDuration("inf").ok());
  EXPECT_EQ(ParseInteger("1x").status().message(), "strconv.ParseInt: parsing \"1x\": invalid syntax");
  EXPECT_EQ(ParseByteSize("1.5GiB"), 3LL << 29);
  EXPECT_EQ(ParseByteSize("12"), 12);
  EXPECT_FALSE(ParseByteSize("12q").has_value());
}

TEST(Lint, FindingsWhileReading) {
  std::vector<std::string> findings;
  const Linter linter(LintConfig(), [&](const LintRule& rule, const std::string& message, Lines lines) {
    findings.push_back(absl::StrCat(rule.name, ":", lines.first, ": ", message));
  });
  ASSERT_TRUE(Read("FROM a as Base\nMAINTAINER x\n# check=skip=MaintainerDeprecated\nMAINTAINER y\n", linter).ok());
  EXPECT_THAT(findings,
              ElementsAre("StageNameCasing:1: Stage name 'Base' should be lowercase", "FromAsCasing:1: 'as' and 'FROM' keywords' casing do not match",
                          "MaintainerDeprecated:2: Maintainer instruction is deprecated in favor of using label"));
  EXPECT_EQ(ParseLintOptions("skip=all;error=true")->findings_are_errors, true);
  EXPECT_EQ(ParseLintOptions("bad").status().message(), "invalid check option \"bad\"");
}

}  // namespace
}  // namespace cachalot::dockerfile
