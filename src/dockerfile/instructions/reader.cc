#include "dockerfile/instructions/reader.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/suggest.h"
#include "dockerfile/instructions/flags.h"
#include "dockerfile/instructions/read_one.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/shell/quote.h"

namespace cachalot::dockerfile {
namespace {

using BodyReader = absl::StatusOr<InstructionBody> (*)(const Node&);

const std::map<std::string, BodyReader>& Readers() {
  static const std::map<std::string, BodyReader>& readers = *new std::map<std::string, BodyReader>{
      {"ADD", ReadAdd},
      {"ARG", ReadArg},
      {"CMD", ReadCmd},
      {"COPY", ReadCopy},
      {"ENTRYPOINT", ReadEntrypoint},
      {"ENV", ReadEnv},
      {"EXPOSE", ReadExpose},
      {"HEALTHCHECK", ReadHealthcheck},
      {"LABEL", ReadLabel},
      {"MAINTAINER", ReadMaintainer},
      {"ONBUILD", ReadOnbuild},
      {"RUN", ReadRun},
      {"SHELL", ReadShell},
      {"STOPSIGNAL", ReadStopsignal},
      {"USER", ReadUser},
      {"VOLUME", ReadVolume},
      {"WORKDIR", ReadWorkdir},
  };
  return readers;
}

absl::Status UnknownInstruction(const std::string& keyword) {
  std::vector<std::string> names = {"FROM"};
  for (const auto& reader : Readers()) names.push_back(reader.first);
  return WithSuggestion(absl::InvalidArgumentError(absl::StrCat("unknown instruction: ", keyword)), keyword, names, /*case_sensitive=*/false);
}

// The last comment above a definition should be its description.
void CheckDescription(absl::string_view keyword, const std::vector<std::string>& names, const Node& node, const Linter& linter) {
  if (node.comments.empty() || names.empty()) return;
  const std::string& comment = node.comments.back();
  if (std::find(names.begin(), names.end(), comment.substr(0, comment.find(' '))) != names.end()) return;
  linter.Report(
      kInvalidDefinitionDescription, node.lines,
      absl::StrCat("Comment for ", keyword, " should follow the format: `# ", names.size() > 1 ? "<arg_key>" : names[0], " <description>`"));
}

void CheckFromCasing(const Node& node, const Linter& linter) {
  if (node.arguments.size() == 3 && node.arguments[2] != absl::AsciiStrToLower(node.arguments[2])) {
    linter.Report(kStageNameCasing, node.lines, absl::StrCat("Stage name '", node.arguments[2], "' should be lowercase"));
  }
  if (node.arguments.size() < 3) return;
  const std::string& as = node.arguments[1];
  const bool lower = node.keyword == absl::AsciiStrToLower(node.keyword);
  if (!lower && node.keyword != absl::AsciiStrToUpper(node.keyword)) return;  // mixed case is another rule's finding
  if (as != (lower ? absl::AsciiStrToLower(as) : absl::AsciiStrToUpper(as))) {
    linter.Report(kFromAsCasing, node.lines, absl::StrCat("'", as, "' and '", node.keyword, "' keywords' casing do not match"));
  }
}

bool IsStageName(absl::string_view name) {
  if (name.empty() || !absl::ascii_islower(name[0])) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || absl::StrContains("-_.", absl::string_view(&c, 1)); });
}

absl::StatusOr<Stage> ReadStage(const Node& node, const Linter& linter) {
  CheckFromCasing(node, linter);
  Stage stage;
  if (node.arguments.size() == 3 && absl::EqualsIgnoreCase(node.arguments[1], "as")) {
    stage.name = absl::AsciiStrToLower(node.arguments[2]);
    if (!IsStageName(stage.name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("invalid name for build stage: ", GoQuote(node.arguments[2]), ", name can't start with a number or contain symbols"));
    }
  } else if (node.arguments.size() != 1) {
    return absl::InvalidArgumentError("FROM requires either one or three arguments");
  }
  FlagSet flags;
  flags.Text("platform", &stage.platform);
  RETURN_IF_ERROR(flags.Parse(node.flags));
  stage.base = node.arguments[0];
  stage.keyword = node.keyword;
  stage.code = std::string(absl::StripAsciiWhitespace(node.original));
  stage.description = DescriptionOf(stage.name, node.comments);
  stage.lines = node.lines;
  stage.comments = node.comments;
  if (!stage.name.empty()) CheckDescription("FROM", {stage.name}, node, linter);
  return stage;
}

absl::Status AddToProgram(const Node& node, const Linter& linter, Program* program) {
  if (absl::EqualsIgnoreCase(node.keyword, "FROM")) {
    ASSIGN_OR_RETURN(Stage stage, ReadStage(node, linter.AdjustedBy(node.comments)));
    program->stages.push_back(std::move(stage));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Instruction instruction, ReadInstruction(node, linter));
  const bool is_arg = std::holds_alternative<ArgInstruction>(instruction.body);
  if (program->stages.empty()) {
    // The check comes after the loop's prefix is known to be right: only ARG may stand before FROM.
    if (is_arg) program->global_args.push_back(std::move(instruction));
    return is_arg ? absl::OkStatus() : absl::FailedPreconditionError("no build stage in current context");
  }
  program->stages.back().instructions.push_back(std::move(instruction));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Instruction> ReadInstruction(const Node& node, const Linter& base_linter) {
  const auto reader = Readers().find(absl::AsciiStrToUpper(node.keyword));
  if (reader == Readers().end()) return UnknownInstruction(node.keyword);
  const Linter linter = base_linter.AdjustedBy(node.comments);
  if (reader->first == "MAINTAINER") {
    linter.Report(kMaintainerDeprecated, node.lines, "Maintainer instruction is deprecated in favor of using label");
  }
  Instruction instruction;
  instruction.keyword = node.keyword;
  instruction.code = std::string(absl::StripAsciiWhitespace(node.original));
  instruction.lines = node.lines;
  instruction.comments = node.comments;
  ASSIGN_OR_RETURN(instruction.body, reader->second(node));
  if (const auto* arg = std::get_if<ArgInstruction>(&instruction.body); arg != nullptr) {
    std::vector<std::string> names;
    for (const ArgDefinition& definition : arg->args) names.push_back(definition.key);
    CheckDescription("ARG", names, node, linter);
  }
  return instruction;
}

absl::StatusOr<Program> ReadProgram(const File& file, const Linter& linter) {
  Program program;
  for (const Node& node : file.nodes) {
    const absl::Status status = AddToProgram(node, linter, &program);
    if (status.ok()) continue;
    if (absl::IsFailedPrecondition(status)) return AtLines(status, node.lines);
    return AtLines(Annotate(status, absl::StrCat("dockerfile parse error on line ", node.lines.first)), node.lines);
  }
  return program;
}

}  // namespace cachalot::dockerfile
