#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/suggest.h"
#include "base/value_of.h"
#include "dockerfile/compile/checks.h"
#include "dockerfile/compile/compiler.h"
#include "dockerfile/instructions/reader.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/parse/parser.h"

namespace cachalot::dockerfile {
namespace {

int CountSteps(const StageState& stage) {
  int steps = stage.stage.base != "scratch" && stage.base == nullptr ? 1 : 0;
  for (const Instruction& instruction : stage.stage.instructions) {
    if (std::holds_alternative<AddInstruction>(instruction.body) || std::holds_alternative<CopyInstruction>(instruction.body) ||
        std::holds_alternative<RunInstruction>(instruction.body) || std::holds_alternative<WorkdirInstruction>(instruction.body)) {
      ++steps;
    }
  }
  return steps;
}

absl::Status WithAnySuggestion(const absl::Status& status, const std::set<std::string>& names, const std::vector<std::string>& options) {
  for (const std::string& name : names) {
    absl::Status suggested = WithSuggestion(status, name, options);
    if (suggested != status) return suggested;
  }
  return status;
}

// Walks over the dependencies of stages; a stage met again on the way is a cycle.
class CycleFinder {
 public:
  // The places of the commands that form a cycle, from `stage` on; empty without one.
  std::vector<Lines> Visit(StageState* stage) {
    if (!visited_.insert(stage).second) return {};
    on_path_.insert(stage);
    for (const auto& [dep, lines] : stage->deps) {
      path_.push_back(lines);
      if (on_path_.contains(dep)) return path_;
      std::vector<Lines> cycle = Visit(dep);
      if (!cycle.empty()) return cycle;
      path_.pop_back();
    }
    on_path_.erase(stage);
    return {};
  }

 private:
  std::set<StageState*> visited_, on_path_;
  std::vector<Lines> path_;
};

constexpr std::size_t kMaxStages = 2000;  // also bounds the recursion over dependencies

}  // namespace

absl::Status Compiler::CreateStages() {
  if (program_.stages.size() > kMaxStages) return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxStages, " stages"));
  for (std::size_t i = 0; i < program_.stages.size(); ++i) {
    absl::Status status = CreateStage(i);
    if (!status.ok()) return AtLines(std::move(status), program_.stages[i].lines);
  }
  return absl::OkStatus();
}

absl::Status Compiler::CreateStage(std::size_t index) {
  auto stage = std::make_shared<StageState>();
  stage->stage = program_.stages[index];
  const Linter linter = linter_.AdjustedBy(stage->stage.comments);
  std::vector<std::string> declared = global_args_.Names();
  for (const auto& arg : global_outline_.args) declared.push_back(arg.first);

  absl::StatusOr<Expansion> base = expander_.Expand(stage->stage.base, global_args_);
  if (!base.ok()) return base.status();
  CheckFromArgs(base->unmatched, declared, stage->stage.lines, linter);
  if (base->text.empty()) return absl::InvalidArgumentError(absl::StrCat("base name (", stage->stage.base, ") should not be blank"));
  std::set<std::string> used = base->matched;
  stage->stage.base = base->text;
  stage->name = stage->stage.name;
  stage->show_platform = config_.multi_platform;
  stage->outline = global_outline_;
  stage->epoch = epoch_;
  RETURN_IF_ERROR(ReadStagePlatform(stage.get(), &used));

  if (!stage->name.empty()) {
    NamedContextOptions options{stage->platform.has_value() ? stage->platform : request_.platform, std::string(ResolveModeName(config_.resolve_mode)),
                                stage->paths};
    ASSIGN_OR_RETURN(stage->named_context, NamedContext::Find(*request_.context, *request_.images, stage->name, std::move(options)));
    if (stage->named_context.has_value()) {
      AddStage(stage)->base = nullptr;  // the context replaces whatever the stage would have been
      return absl::OkStatus();
    }
  } else {
    stage->name = absl::StrCat("stage-", index);
  }
  AddStage(stage);
  stage->outline.used_args.insert(used.begin(), used.end());
  stage->steps_total = CountSteps(*stage);
  stage->ignore_cache = config_.IsNoCache(stage->stage.name);
  return absl::OkStatus();
}

absl::Status Compiler::ReadStagePlatform(StageState* stage, std::set<std::string>* used) {
  const std::string& expression = stage->stage.platform;
  if (expression.empty()) return absl::OkStatus();
  const Linter linter = linter_.AdjustedBy(stage->stage.comments);
  const absl::StatusOr<Expansion> platform = expander_.Expand(expression, global_args_);
  if (!platform.ok()) return Annotate(platform.status(), "failed to process arguments for platform ");
  std::vector<std::string> declared = global_args_.Names();
  for (const auto& arg : global_outline_.args) declared.push_back(arg.first);
  CheckFromArgs(platform->unmatched, declared, stage->stage.lines, linter);
  CheckStagePlatform(stage->stage, *platform, global_args_, linter);
  if (platform->text.empty()) {
    return WithAnySuggestion(absl::InvalidArgumentError(absl::StrCat("empty platform value from expression ", expression)), platform->unmatched,
                             global_args_.Names());
  }
  const absl::StatusOr<oci::Platform> parsed = oci::ParsePlatform(platform->text);
  if (!parsed.ok()) {
    return Annotate(WithAnySuggestion(parsed.status(), platform->unmatched, global_args_.Names()),
                    absl::StrCat("failed to parse platform ", expression));
  }
  used->insert(platform->matched.begin(), platform->matched.end());
  stage->platform = *parsed;
  return absl::OkStatus();
}

StageState* Compiler::AddStage(std::shared_ptr<StageState> stage) {
  if (const auto base = stages_by_name_.find(stage->stage.base); base != stages_by_name_.end()) {
    stage->base = base->second;
    stage->outline = base->second->outline;
  }
  if (!stage->stage.name.empty()) stages_by_name_[absl::AsciiStrToLower(stage->stage.name)] = stage.get();
  stages_.push_back(std::move(stage));
  return stages_.back().get();
}

StageState* Compiler::FindStage(absl::string_view name) { return ValueOf(stages_by_name_, absl::AsciiStrToLower(name)); }

std::vector<std::string> Compiler::StageNames() const {
  std::vector<std::string> names;
  for (const std::shared_ptr<StageState>& stage : stages_) {
    if (!stage->name.empty()) names.push_back(stage->name);
  }
  return names;
}

StageState* Compiler::SourceStage(const std::string& name, Lines lines, std::vector<std::shared_ptr<StageState>>* unregistered) {
  if (StageState* stage = FindStage(name); stage != nullptr) return stage;
  auto image = std::make_shared<StageState>();
  image->stage.base = name;
  image->stage.lines = lines;
  image->registered = false;
  unregistered->push_back(image);
  return image.get();
}

absl::StatusOr<Command> Compiler::MakeCommand(Instruction instruction, std::vector<std::shared_ptr<StageState>>* unregistered) {
  Command command;
  if (const auto* copy = std::get_if<CopyInstruction>(&instruction.body); copy != nullptr && !copy->from.empty()) {
    ASSIGN_OR_RETURN(const Expansion from, expander_.Expand(copy->from, Variables()));
    if (from.text != copy->from) {
      return absl::InvalidArgumentError(
          "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround");
    }
    int index = 0;
    if (!absl::SimpleAtoi(copy->from, &index)) {
      command.sources = {SourceStage(copy->from, instruction.lines, unregistered)};
    } else if (index < 0 || static_cast<std::size_t>(index) >= stages_.size()) {
      return absl::InvalidArgumentError(absl::StrCat("invalid stage index ", index));
    } else {
      command.sources = {stages_[index].get()};
    }
  }
  if (const auto* run = std::get_if<RunInstruction>(&instruction.body); run != nullptr) {
    // A mount that names no source starts from nothing, which counts as a stage too.
    for (const RunMount& mount : run->mounts) {
      command.sources.push_back(SourceStage(mount.from.empty() ? "scratch" : mount.from, instruction.lines, unregistered));
    }
  }
  command.instruction = std::move(instruction);
  return command;
}

absl::Status Compiler::AddCommands(StageState* stage, std::vector<Instruction> instructions, bool on_build, bool* new_deps) {
  std::vector<Command> commands;
  for (Instruction& instruction : instructions) {
    const Lines lines = instruction.lines;
    std::vector<std::shared_ptr<StageState>> unregistered;
    ASSIGN_OR_RETURN(Command command, MakeCommand(std::move(instruction), &unregistered));
    command.on_build = on_build;
    for (StageState* source : command.sources) stage->deps.try_emplace(source, lines);
    for (std::shared_ptr<StageState>& image : unregistered) AddStage(std::move(image));
    *new_deps |= !command.sources.empty();
    commands.push_back(std::move(command));
  }
  // Triggers of the base run before the stage's own commands.
  stage->commands.insert(stage->commands.begin(), std::make_move_iterator(commands.begin()), std::make_move_iterator(commands.end()));
  return absl::OkStatus();
}

absl::Status Compiler::LinkStages() {
  const std::vector<std::shared_ptr<StageState>> declared = stages_;
  for (const std::shared_ptr<StageState>& stage : declared) {
    bool new_deps = false;
    RETURN_IF_ERROR(AddCommands(stage.get(), stage->stage.instructions, /*on_build=*/false, &new_deps));
  }
  RETURN_IF_ERROR(CheckCycles());
  if (stages_.size() == 1) stages_[0]->name.clear();
  return absl::OkStatus();
}

absl::Status Compiler::CheckCycles() const {
  for (const std::shared_ptr<StageState>& stage : stages_) {
    const std::vector<Lines> cycle = CycleFinder().Visit(stage.get());
    if (cycle.empty()) continue;
    absl::Status status = absl::InvalidArgumentError(absl::StrCat("circular dependency detected on stage: ", stage->name));
    for (const Lines lines : cycle) status = AlsoAtLines(std::move(status), lines);
    return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Compiler::AddOnBuildTriggers(StageState* stage) {
  std::vector<std::string> triggers = std::exchange(stage->image.config.on_build, {});
  if (stage->base != nullptr && !stage->on_build_done) {
    for (const Command& command : stage->base->commands) {
      if (const auto* onbuild = std::get_if<OnbuildInstruction>(&command.instruction.body)) triggers.push_back(onbuild->expression);
    }
    stage->on_build_done = true;
  }
  std::vector<Instruction> instructions;
  for (const std::string& trigger : triggers) {
    ASSIGN_OR_RETURN(File file, ParseFile(trigger));
    if (file.nodes.size() != 1) return absl::InvalidArgumentError("onbuild trigger should be a single expression");
    file.nodes[0].lines = stage->stage.lines;
    ASSIGN_OR_RETURN(Instruction instruction, ReadInstruction(file.nodes[0], Linter()));
    instructions.push_back(std::move(instruction));
  }
  bool new_deps = false;
  stage->steps_total += static_cast<int>(instructions.size());
  RETURN_IF_ERROR(AddCommands(stage, std::move(instructions), /*on_build=*/true, &new_deps));
  return new_deps;
}

}  // namespace cachalot::dockerfile
