#include "dockerfile/compile/checks.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/suggest.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/shell/quote.h"
#include "oci/reference.h"

namespace cachalot::dockerfile {
namespace {

bool IsLower(absl::string_view word) { return word == absl::AsciiStrToLower(word); }
bool IsUpper(absl::string_view word) { return word == absl::AsciiStrToUpper(word); }

void CheckKeyword(const std::string& keyword, bool lower, Lines lines, const Linter& linter) {
  if (lower ? IsLower(keyword) : IsUpper(keyword)) return;
  linter.Report(kConsistentInstructionCasing, lines,
                absl::StrCat("Command '", keyword, "' should match the case of the command majority (", lower ? "lowercase" : "uppercase", ")"));
}

// Whether `name` has one of `words` between underscores, whatever the case.
bool HasWord(absl::string_view name, std::initializer_list<absl::string_view> words) {
  for (const absl::string_view part : absl::StrSplit(name, '_')) {
    for (const absl::string_view word : words) {
      if (absl::EqualsIgnoreCase(part, word)) return true;
    }
  }
  return false;
}

}  // namespace

void CheckStageNames(const std::vector<Stage>& stages, const Linter& linter) {
  std::set<std::string> names;
  for (const Stage& stage : stages) {
    if (stage.name.empty()) continue;
    if (stage.name == "context" || stage.name == "scratch") {
      linter.Report(kReservedStageName, stage.lines, absl::StrCat("Stage name should not use the same name as reserved stage ", GoQuote(stage.name)));
    }
    if (!names.insert(stage.name).second) {
      linter.Report(kDuplicateStageName, stage.lines, absl::StrCat("Duplicate stage name ", GoQuote(stage.name), ", stage names should be unique"));
    }
  }
}

void CheckCasing(const std::vector<Stage>& stages, const Linter& linter) {
  int lower = 0;
  int upper = 0;
  const auto count = [&](const std::string& keyword) {
    if (IsLower(keyword)) {
      ++lower;
    } else if (IsUpper(keyword)) {
      ++upper;
    }
  };
  for (const Stage& stage : stages) {
    count(stage.keyword);
    for (const Instruction& instruction : stage.instructions) count(instruction.keyword);
  }
  for (const Stage& stage : stages) {
    CheckKeyword(stage.keyword, lower > upper, stage.lines, linter);
    for (const Instruction& instruction : stage.instructions) CheckKeyword(instruction.keyword, lower > upper, instruction.lines, linter);
  }
}

void CheckDefaultBases(const std::vector<Stage>& stages, const Expander& expander, const Environment& defaults, const Linter& linter) {
  for (const Stage& stage : stages) {
    const absl::StatusOr<Expansion> base = expander.Expand(stage.base, defaults);
    if (!base.ok()) return;
    if (oci::Reference::ParseNormalized(base->text).ok()) continue;
    linter.Report(kInvalidDefaultArgInFrom, stage.lines,
                  absl::StrCat("Default value for ARG ", stage.base, " results in empty or invalid base image name"));
  }
}

void CheckFromArgs(const std::set<std::string>& unmatched, const std::vector<std::string>& declared, Lines lines, const Linter& linter) {
  for (const std::string& name : unmatched) {
    if (std::find(declared.begin(), declared.end(), name) != declared.end()) continue;
    std::string message = absl::StrCat("FROM argument '", name, "' is not declared");
    if (const auto suggestion = Suggest(name, declared)) absl::StrAppend(&message, " (did you mean ", *suggestion, "?)");
    linter.Report(kUndefinedArgInFrom, lines, message);
  }
}

void CheckStagePlatform(const Stage& stage, const Expansion& platform, const Environment& args, const Linter& linter) {
  if (platform.matched == std::set<std::string>{"TARGETPLATFORM"} && platform.unmatched.empty() && platform.text == args.Get("TARGETPLATFORM")) {
    linter.Report(kRedundantTargetPlatform, stage.lines,
                  absl::StrCat("Setting platform to predefined ", stage.platform, " in FROM is redundant as this is the default behavior"));
  }
  if (!platform.matched.empty() || !platform.unmatched.empty()) return;
  const absl::StatusOr<oci::Platform> parsed = oci::ParsePlatform(platform.text);
  if (!parsed.ok()) return;
  // A stage that says in its name what it is for may be tied to that.
  if (absl::StrContains(stage.name, parsed->os) || absl::StrContains(stage.name, parsed->architecture)) return;
  linter.Report(kFromPlatformFlagConstDisallowed, stage.lines,
                absl::StrCat("FROM --platform flag should not use constant value ", GoQuote(platform.text)));
}

void CheckBasePlatform(const std::string& base, const oci::Platform& expected, const oci::Platform& actual, Lines lines, const Linter& linter) {
  if (expected.os == actual.os && expected.architecture == actual.architecture) return;
  const auto shown = [](const oci::Platform& platform) { return GoQuote(oci::FormatPlatform(oci::Normalize(platform), /*with_version=*/true)); };
  linter.Report(kInvalidBaseImagePlatform, lines,
                absl::StrCat("Base image ", base, " was pulled with platform ", shown(actual), ", expected ", shown(expected), " for current build"));
}

void CheckNoSecret(absl::string_view keyword, absl::string_view key, Lines lines, const Linter& linter) {
  if (!HasWord(key, {"apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"})) return;
  if (HasWord(key, {"public", "file", "version"})) return;
  linter.Report(kSecretsUsedInArgOrEnv, lines,
                absl::StrCat("Do not use ARG or ENV instructions for sensitive data (", keyword, " ", GoQuote(key), ")"));
}

void CheckUsedOnce(const Instruction& instruction, SeenOnce* seen, const Linter& linter) {
  if (seen->seen) {
    linter.Report(
        kMultipleInstructionsDisallowed, seen->lines,
        absl::StrCat("Multiple ", instruction.keyword, " instructions should not be used in the same stage because only the last one will be used"));
  }
  *seen = {true, instruction.lines};
}

bool IsEnabledFor(const std::string& stage, const std::string& value) {
  if (const std::optional<bool> all = ParseBool(value)) return *all;
  const std::vector<std::string> names = absl::StrSplit(value, ',');
  return std::find(names.begin(), names.end(), stage) != names.end();
}

}  // namespace cachalot::dockerfile
