#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/path.h"
#include "base/status_macros.h"
#include "base/suggest.h"
#include "cachalot/llb/file.h"
#include "dockerfile/compile/checks.h"
#include "dockerfile/compile/compiler.h"
#include "dockerfile/compile/paths.h"
#include "dockerfile/compile/ports.h"
#include "dockerfile/instructions/reader.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/shell/quote.h"

namespace cachalot::dockerfile {
namespace {

// Arguments that steer the build itself and are no variables of its processes.
bool IsBuildSwitch(absl::string_view name) { return name == "BUILDKIT_SBOM_SCAN_CONTEXT" || name == "BUILDKIT_SBOM_SCAN_STAGE"; }

bool IsSignal(const std::string& text) {
  static constexpr absl::string_view kNames[] = {"ABRT", "ALRM", "BUS",  "CHLD", "CLD",  "CONT", "FPE",    "HUP",    "ILL",  "INT", "IO",   "IOT",
                                                 "KILL", "PIPE", "POLL", "PROF", "PWR",  "QUIT", "SEGV",   "STKFLT", "STOP", "SYS", "TERM", "TRAP",
                                                 "TSTP", "TTIN", "TTOU", "URG",  "USR1", "USR2", "VTALRM", "WINCH",  "XCPU", "XFSZ"};
  int number = 0;
  if (absl::SimpleAtoi(text, &number)) return number != 0;
  const std::string upper = absl::AsciiStrToUpper(text);
  absl::string_view name = absl::StripPrefix(upper, "SIG");
  if (std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames)) return true;
  // The realtime signals count from either end.
  int offset = 0;
  if (name == "RTMIN" || name == "RTMAX") return true;
  if (absl::ConsumePrefix(&name, "RTMIN+")) return absl::SimpleAtoi(name, &offset) && offset >= 1 && offset <= 15;
  if (absl::ConsumePrefix(&name, "RTMAX-")) return absl::SimpleAtoi(name, &offset) && offset >= 1 && offset <= 14;
  return false;
}

// The words of a shell-form command behind the shell that runs them.
std::vector<std::string> WithShell(const oci::ImageConfig& image, const std::vector<std::string>& words) {
  std::vector<std::string> out = image.config.shell;
  if (out.empty()) {
    out = image.platform.os == "windows" ? std::vector<std::string>{"cmd", "/S", "/C"} : std::vector<std::string>{"/bin/sh", "-c"};
  }
  out.push_back(absl::StrJoin(words, " "));
  return out;
}

std::string PairText(const KeyValue& pair) { return absl::StrCat(" ", pair.key, "=", pair.value); }

}  // namespace

void Compiler::ReportUndefined(const StageState& stage, const Instruction& instruction, const std::set<std::string>& unmatched,
                               const Environment& environment) {
  for (const std::string& name : unmatched) {
    const auto same = [&](const ArgDefinition& arg) { return arg.key == name; };
    if (IsBuildSwitch(name) || std::any_of(stage.build_args.begin(), stage.build_args.end(), same)) continue;
    std::string message = absl::StrCat("Usage of undefined variable '$", name, "'");
    if (const auto suggestion = Suggest(name, environment.Names())) absl::StrAppend(&message, " (did you mean $", *suggestion, "?)");
    LinterFor(instruction).Report(kUndefinedVar, instruction.lines, message);
  }
}

absl::StatusOr<std::string> Compiler::ExpandIn(const StageState& stage, const Instruction& instruction, const Expander& expander,
                                               absl::string_view text) {
  const StateEnvironment environment(stage.state);
  ASSIGN_OR_RETURN(Expansion expansion, expander.Expand(text, environment));
  ReportUndefined(stage, instruction, expansion.unmatched, environment);
  return std::move(expansion.text);
}

std::string Compiler::ShownCommand(const Instruction& instruction, const Environment& environment) const {
  const absl::StatusOr<Expansion> expansion = expander_.Expand(instruction.code, environment);
  std::string text = expansion.ok() ? expansion->text : instruction.code;
  const std::size_t end = std::min(text.find(' '), text.size());
  return absl::StrCat(absl::AsciiStrToUpper(text.substr(0, end)), text.substr(end));
}

llb::Constraints Compiler::At(Lines lines) const {
  std::vector<solver::SourceRange> ranges;
  for (int line = lines.first; line <= lines.last; ++line) ranges.push_back({line, 0, line, 0});
  return llb::Constraints().At(request_.source, std::move(ranges));
}

absl::Status Compiler::Dispatch(StageState* stage, Command* command) {
  stage->in_on_build = command->on_build;
  Instruction& instruction = command->instruction;
  const WordExpander expander = [&](absl::string_view word) { return ExpandIn(*stage, instruction, expander_, word); };
  const Expander raw({.skip_quotes = true}, budget_);
  const WordExpander raw_expander = [&](absl::string_view word) { return ExpandIn(*stage, instruction, raw, word); };
  RETURN_IF_ERROR(ExpandInstruction(expander, raw_expander, &instruction.body));

  struct Visitor {
    Compiler& compiler;
    StageState* stage;
    const Command& command;
    absl::Status operator()(const AddInstruction& add) { return compiler.DispatchAdd(stage, command, add); }
    absl::Status operator()(const ArgInstruction& arg) { return compiler.DispatchArg(stage, command, arg); }
    absl::Status operator()(const CmdInstruction& cmd) { return compiler.DispatchCmd(stage, command, cmd); }
    absl::Status operator()(const CopyInstruction& copy) { return compiler.DispatchCopy(stage, command, copy); }
    absl::Status operator()(const EntrypointInstruction& entrypoint) { return compiler.DispatchEntrypoint(stage, command, entrypoint); }
    absl::Status operator()(const EnvInstruction& env) { return compiler.DispatchEnv(stage, command, env); }
    absl::Status operator()(const ExposeInstruction& expose) { return compiler.DispatchExpose(stage, command, expose); }
    absl::Status operator()(const HealthcheckInstruction& check) { return compiler.DispatchHealthcheck(stage, command, check); }
    absl::Status operator()(const LabelInstruction& label) { return compiler.DispatchLabel(stage, command, label); }
    absl::Status operator()(const MaintainerInstruction& maintainer) {
      stage->image.author = maintainer.name;
      stage->Commit(absl::StrCat("MAINTAINER ", maintainer.name), /*layer=*/false);
      return absl::OkStatus();
    }
    absl::Status operator()(const OnbuildInstruction& onbuild) {
      stage->image.config.on_build.push_back(onbuild.expression);
      return absl::OkStatus();
    }
    absl::Status operator()(const RunInstruction& run) { return compiler.DispatchRun(stage, command, run); }
    absl::Status operator()(const ShellInstruction& shell) {
      stage->image.config.shell = shell.shell;
      stage->Commit(absl::StrCat("SHELL ", GoList(shell.shell)), /*layer=*/false);
      return absl::OkStatus();
    }
    absl::Status operator()(const StopsignalInstruction& stopsignal) { return compiler.DispatchStopsignal(stage, stopsignal); }
    absl::Status operator()(const UserInstruction& user) {
      stage->state = stage->state.User(user.user);
      stage->image.config.user = user.user;
      stage->Commit(absl::StrCat("USER ", user.user), /*layer=*/false);
      return absl::OkStatus();
    }
    absl::Status operator()(const VolumeInstruction& volume) { return compiler.DispatchVolume(stage, volume); }
    absl::Status operator()(const WorkdirInstruction& workdir) { return compiler.DispatchWorkdir(stage, command, workdir); }
  };
  return std::visit(Visitor{*this, stage, *command}, instruction.body);
}

absl::Status Compiler::DispatchEnv(StageState* stage, const Command& command, const EnvInstruction& env) {
  const Linter linter = LinterFor(command.instruction);
  std::string history = "ENV";
  for (const KeyValue& pair : env.pairs) {
    if (!pair.delimited) {
      const std::string& keyword = command.instruction.keyword;
      linter.Report(kLegacyKeyValueFormat, command.instruction.lines,
                    absl::StrCat("\"", keyword, " key=value\" should be used instead of legacy \"", keyword, " key value\" format"));
    }
    CheckNoSecret("ENV", pair.key, command.instruction.lines, linter);
    absl::StrAppend(&history, PairText(pair));
    stage->state = stage->state.AddEnv(pair.key, pair.value);
    SetEnv(pair.key, pair.value, &stage->image.config.env);
  }
  stage->Commit(history, /*layer=*/false);
  return absl::OkStatus();
}

absl::Status Compiler::DispatchLabel(StageState* stage, const Command& command, const LabelInstruction& label) {
  std::string history = "LABEL";
  for (const KeyValue& pair : label.pairs) {
    if (!pair.delimited) {
      const std::string& keyword = command.instruction.keyword;
      LinterFor(command.instruction)
          .Report(kLegacyKeyValueFormat, command.instruction.lines,
                  absl::StrCat("\"", keyword, " key=value\" should be used instead of legacy \"", keyword, " key value\" format"));
    }
    stage->image.config.labels[pair.key] = pair.value;
    absl::StrAppend(&history, PairText(pair));
  }
  stage->Commit(history, /*layer=*/false);
  return absl::OkStatus();
}

absl::Status Compiler::DispatchArg(StageState* stage, const Command& command, const ArgInstruction& instruction) {
  std::vector<std::string> history;
  for (ArgDefinition arg : instruction.args) {
    CheckNoSecret("ARG", arg.key, command.instruction.lines, LinterFor(command.instruction));
    const auto given = build_args_.find(arg.key);
    bool inherited = false;
    if (given != build_args_.end()) {
      arg.value = given->second;
    } else if (arg.value.has_value()) {
      ASSIGN_OR_RETURN(arg.value, ExpandIn(*stage, command.instruction, expander_, *arg.value));
    } else if (std::optional<std::string> global = global_args_.Get(arg.key)) {
      arg.value = std::move(global);
      inherited = true;
    }
    if (arg.value.has_value() && !IsBuildSwitch(arg.key)) stage->state = stage->state.AddEnv(arg.key, *arg.value);
    if (!inherited) stage->outline.args[arg.key] = {arg, arg.value.value_or(""), {}, command.instruction.lines};
    stage->outline.used_args.insert(arg.key);
    history.push_back(arg.value.has_value() ? absl::StrCat(arg.key, "=", *arg.value) : arg.key);
    stage->build_args.push_back(std::move(arg));
  }
  stage->Commit(absl::StrCat("ARG ", absl::StrJoin(history, " ")), /*layer=*/false);
  return absl::OkStatus();
}

absl::Status Compiler::DispatchCmd(StageState* stage, const Command& command, const CmdInstruction& cmd) {
  const Linter linter = LinterFor(command.instruction);
  CheckUsedOnce(command.instruction, &stage->cmd, linter);
  std::vector<std::string> words = cmd.command.words;
  if (cmd.command.shell_form) {
    if (stage->image.config.shell.empty()) {
      linter.Report(
          kJsonArgsRecommended, command.instruction.lines,
          absl::StrCat("JSON arguments recommended for ", command.instruction.keyword, " to prevent unintended behavior related to OS signals"));
    }
    words = WithShell(stage->image, words);
  }
  stage->image.config.cmd = words;
  stage->image.config.args_escaped = true;
  stage->Commit(absl::StrCat("CMD ", GoQuote(words)), /*layer=*/false);
  return absl::OkStatus();
}

absl::Status Compiler::DispatchEntrypoint(StageState* stage, const Command& command, const EntrypointInstruction& entrypoint) {
  const Linter linter = LinterFor(command.instruction);
  CheckUsedOnce(command.instruction, &stage->entrypoint, linter);
  std::vector<std::string> words = entrypoint.command.words;
  if (entrypoint.command.shell_form) {
    if (stage->image.config.shell.empty()) {
      linter.Report(
          kJsonArgsRecommended, command.instruction.lines,
          absl::StrCat("JSON arguments recommended for ", command.instruction.keyword, " to prevent unintended behavior related to OS signals"));
    }
    words = WithShell(stage->image, words);
  }
  stage->image.config.entrypoint = words;
  if (!stage->cmd.seen) stage->image.config.cmd.clear();
  stage->Commit(absl::StrCat("ENTRYPOINT ", GoQuote(words)), /*layer=*/false);
  return absl::OkStatus();
}

absl::Status Compiler::DispatchHealthcheck(StageState* stage, const Command& command, const HealthcheckInstruction& check) {
  CheckUsedOnce(command.instruction, &stage->healthcheck, LinterFor(command.instruction));
  oci::HealthCheck health;
  health.test = check.test;
  health.interval = check.interval;
  health.timeout = check.timeout;
  health.start_period = check.start_period;
  health.start_interval = check.start_interval;
  health.retries = check.retries;
  stage->image.config.healthcheck = health;
  stage->Commit(absl::StrCat("HEALTHCHECK {Test:", GoList(check.test), " Interval:", FormatGoDuration(check.interval),
                             " Timeout:", FormatGoDuration(check.timeout), " StartPeriod:", FormatGoDuration(check.start_period),
                             " StartInterval:", FormatGoDuration(check.start_interval), " Retries:", check.retries, "}"),
                /*layer=*/false);
  return absl::OkStatus();
}

absl::Status Compiler::DispatchExpose(StageState* stage, const Command& command, const ExposeInstruction& expose) {
  const StateEnvironment environment(stage->state);
  std::vector<std::string> ports;
  for (const std::string& text : expose.ports) {
    ASSIGN_OR_RETURN(const Expansion expansion, expander_.Expand(text, environment));
    for (const std::string& word : expansion.words) {
      RETURN_IF_ERROR(ParsePorts(word, command.instruction.lines, LinterFor(command.instruction), &ports));
    }
  }
  std::vector<std::string>& exposed = stage->image.config.exposed_ports;
  exposed.insert(exposed.end(), ports.begin(), ports.end());
  std::sort(exposed.begin(), exposed.end());
  exposed.erase(std::unique(exposed.begin(), exposed.end()), exposed.end());
  stage->Commit(absl::StrCat("EXPOSE ", GoList(ports)), /*layer=*/false);
  return absl::OkStatus();
}

absl::Status Compiler::DispatchStopsignal(StageState* stage, const StopsignalInstruction& stopsignal) {
  if (!IsSignal(stopsignal.signal)) return absl::InvalidArgumentError(absl::StrCat("invalid signal: ", stopsignal.signal));
  stage->image.config.stop_signal = stopsignal.signal;
  stage->Commit(absl::StrCat("STOPSIGNAL ", stopsignal.signal), /*layer=*/false);
  return absl::OkStatus();
}

absl::Status Compiler::DispatchVolume(StageState* stage, const VolumeInstruction& volume) {
  std::vector<std::string>& volumes = stage->image.config.volumes;
  for (const std::string& path : volume.volumes) {
    if (path.empty()) return absl::InvalidArgumentError("VOLUME specified can not be an empty string");
    volumes.push_back(path);
  }
  std::sort(volumes.begin(), volumes.end());
  volumes.erase(std::unique(volumes.begin(), volumes.end()), volumes.end());
  stage->Commit(absl::StrCat("VOLUME ", GoList(volume.volumes)), /*layer=*/false);
  return absl::OkStatus();
}

absl::Status Compiler::SetWorkdir(StageState* stage, const std::string& path) {
  ASSIGN_OR_RETURN(stage->image.config.working_dir, NormalizeWorkdir(stage->image.config.working_dir, path, stage->platform->os));
  stage->state = stage->state.Dir(ToSlash(stage->image.config.working_dir, stage->platform->os));
  return absl::OkStatus();
}

absl::Status Compiler::DispatchWorkdir(StageState* stage, const Command& command, const WorkdirInstruction& workdir) {
  const Instruction& instruction = command.instruction;
  if (!stage->workdir_set && !IsAbsolute(workdir.path, stage->platform->os)) {
    LinterFor(instruction)
        .Report(kWorkdirRelativePath, instruction.lines,
                absl::StrCat("Relative workdir ", GoQuote(workdir.path), " can have unexpected results if the base image changes"));
  }
  stage->workdir_set = true;
  RETURN_IF_ERROR(SetWorkdir(stage, workdir.path));
  const std::string directory = ToSlash(stage->image.config.working_dir, stage->platform->os);
  if (directory != "/") {
    llb::FileMkdir mkdir;
    mkdir.path = directory;
    mkdir.mode = 0755;
    mkdir.make_parents = true;
    if (!stage->image.config.user.empty()) mkdir.owner = llb::OwnerNamed(stage->image.config.user);
    if (stage->epoch.has_value()) mkdir.timestamp_ns = absl::ToUnixNanos(*stage->epoch);
    const StateEnvironment environment(stage->state);
    llb::Constraints constraints = At(instruction.lines);
    constraints.For(*stage->platform).Named(stage->StepName(ShownCommand(instruction, environment), stage->platform, &environment));
    stage->state = stage->state.File(llb::FileActions().Mkdir(std::move(mkdir)), constraints);
  }
  stage->Commit(absl::StrCat("WORKDIR ", directory), /*layer=*/directory != "/");
  return absl::OkStatus();
}

}  // namespace cachalot::dockerfile
