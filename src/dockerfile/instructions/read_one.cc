#include "dockerfile/instructions/read_one.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "dockerfile/instructions/flags.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/parse/heredoc.h"
#include "dockerfile/shell/quote.h"

namespace cachalot::dockerfile {
namespace {

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status NeedsArgument(absl::string_view keyword) { return Invalid(keyword, " requires at least one argument"); }
absl::Status NeedsOneArgument(absl::string_view keyword) { return Invalid(keyword, " requires exactly one argument"); }
absl::Status BlankName(absl::string_view keyword) { return Invalid(keyword, " names can not be blank"); }

absl::Status RefuseFlags(const Node& node) { return FlagSet().Parse(node.flags); }

absl::StatusOr<SourcesAndDest> ReadPaths(const Node& node, absl::string_view keyword) {
  SourcesAndDest paths;
  paths.dest = node.arguments.back();
  if (HeredocOfWord(paths.dest).has_value()) return Invalid(keyword, " cannot accept a heredoc as a destination");
  std::map<std::string, std::string> contents;
  for (const Heredoc& heredoc : node.heredocs) contents[heredoc.name] = heredoc.content;
  for (std::size_t i = 0; i + 1 < node.arguments.size(); ++i) {
    const std::string& source = node.arguments[i];
    const std::optional<Heredoc> heredoc = HeredocOfWord(source);
    if (!heredoc.has_value()) {
      paths.sources.push_back(source);
      continue;
    }
    const std::string& content = contents[heredoc->name];
    paths.files.push_back({heredoc->name, heredoc->chomp ? Chomp(content) : content, heredoc->expand});
  }
  return paths;
}

absl::Status NeedsDestination(absl::string_view keyword) {
  return Invalid(keyword, " requires at least two arguments, but only one was provided. Destination could not be determined");
}

CommandLine ReadCommandLine(const Node& node) {
  CommandLine command;
  command.shell_form = !node.json;
  command.heredocs = node.heredocs;
  command.words = node.arguments;
  if (!node.json && command.words.size() > 1) command.words = {absl::StrJoin(node.arguments, " ")};
  return command;
}

absl::StatusOr<absl::Duration> ReadInterval(absl::string_view flag, const std::string& text) {
  if (text.empty()) return absl::ZeroDuration();
  ASSIGN_OR_RETURN(const absl::Duration duration, ParseGoDuration(text));
  if (duration != absl::ZeroDuration() && duration < absl::Milliseconds(1)) {
    return Invalid("Interval ", GoQuote(flag), " cannot be less than 1ms");
  }
  return duration;
}

absl::StatusOr<std::vector<KeyValue>> ReadPairs(const Node& node, absl::string_view keyword) {
  RETURN_IF_ERROR(RefuseFlags(node));
  if (node.pairs.empty()) return NeedsArgument(keyword);
  for (const KeyValue& pair : node.pairs) {
    if (pair.key.empty()) return BlankName(keyword);
  }
  return node.pairs;
}

absl::StatusOr<std::string> ReadSingle(const Node& node, absl::string_view keyword) {
  if (node.arguments.size() != 1) return NeedsOneArgument(keyword);
  RETURN_IF_ERROR(RefuseFlags(node));
  return node.arguments[0];
}

}  // namespace

std::string DescriptionOf(absl::string_view name, const std::vector<std::string>& comments) {
  if (name.empty()) return "";
  for (absl::string_view comment : comments) {
    if (absl::ConsumePrefix(&comment, name) && absl::ConsumePrefix(&comment, " ")) return std::string(comment);
  }
  return "";
}

absl::StatusOr<InstructionBody> ReadAdd(const Node& node) {
  if (node.arguments.size() < 2) return NeedsDestination("ADD");
  AddInstruction add;
  std::optional<bool> link;
  FlagSet flags;
  flags.Text("chown", &add.chown);
  flags.Text("chmod", &add.chmod);
  flags.Bool("link", &link);
  flags.Bool("keep-git-dir", &add.keep_git_dir);
  flags.Text("checksum", &add.checksum);
  flags.Bool("unpack", &add.unpack);
  flags.Texts("exclude", &add.exclude);
  RETURN_IF_ERROR(flags.Parse(node.flags));
  add.link = link.value_or(false);
  ASSIGN_OR_RETURN(add.paths, ReadPaths(node, "ADD"));
  return add;
}

absl::StatusOr<InstructionBody> ReadCopy(const Node& node) {
  if (node.arguments.size() < 2) return NeedsDestination("COPY");
  CopyInstruction copy;
  std::optional<bool> link, parents;
  FlagSet flags;
  flags.Text("chown", &copy.chown);
  flags.Text("from", &copy.from);
  flags.Text("chmod", &copy.chmod);
  flags.Bool("link", &link);
  flags.Texts("exclude", &copy.exclude);
  flags.Bool("parents", &parents);
  RETURN_IF_ERROR(flags.Parse(node.flags));
  copy.link = link.value_or(false);
  copy.parents = parents.value_or(false);
  ASSIGN_OR_RETURN(copy.paths, ReadPaths(node, "COPY"));
  return copy;
}

absl::StatusOr<InstructionBody> ReadRun(const Node& node) {
  RunInstruction run;
  std::vector<std::string> devices;
  FlagSet flags;
  flags.Texts("device", &devices);
  flags.Texts("mount", &run.mount_flags);
  flags.Text("network", &run.network);
  flags.Text("security", &run.security);
  RETURN_IF_ERROR(flags.Parse(node.flags));
  run.command = ReadCommandLine(node);
  for (const std::string& device : devices) {
    ASSIGN_OR_RETURN(RunDevice parsed, ParseDevice(device));
    run.devices.push_back(std::move(parsed));
  }
  for (const std::string& mount : run.mount_flags) {
    ASSIGN_OR_RETURN(RunMount parsed, ParseMount(mount, nullptr));
    run.mounts.push_back(std::move(parsed));
  }
  if (run.network != "default" && run.network != "none" && run.network != "host") return Invalid("invalid network mode ", GoQuote(run.network));
  if (run.security != "sandbox" && run.security != "insecure") return Invalid("security ", GoQuote(run.security), " is not valid");
  return run;
}

absl::StatusOr<InstructionBody> ReadCmd(const Node& node) {
  RETURN_IF_ERROR(RefuseFlags(node));
  return CmdInstruction{ReadCommandLine(node)};
}

absl::StatusOr<InstructionBody> ReadEntrypoint(const Node& node) {
  RETURN_IF_ERROR(RefuseFlags(node));
  return EntrypointInstruction{ReadCommandLine(node)};
}

absl::StatusOr<InstructionBody> ReadHealthcheck(const Node& node) {
  if (node.arguments.empty()) return NeedsArgument("HEALTHCHECK");
  HealthcheckInstruction check;
  const std::string type = absl::AsciiStrToUpper(node.arguments[0]);
  std::vector<std::string> words(node.arguments.begin() + 1, node.arguments.end());
  if (type == "NONE") {
    if (!words.empty()) return Invalid("HEALTHCHECK NONE takes no arguments");
    check.test = {type};
    return check;
  }
  std::string interval, timeout, start_period, start_interval, retries;
  FlagSet flags;
  flags.Text("interval", &interval);
  flags.Text("timeout", &timeout);
  flags.Text("start-period", &start_period);
  flags.Text("start-interval", &start_interval);
  flags.Text("retries", &retries);
  RETURN_IF_ERROR(flags.Parse(node.flags));
  if (type != "CMD") return Invalid("Unknown type ", GoQuote(type), " in HEALTHCHECK (try CMD)");
  if (words.empty()) return Invalid("Missing command after HEALTHCHECK CMD");
  if (!node.json) words = {absl::StrJoin(words, " ")};
  check.test = {node.json ? "CMD" : "CMD-SHELL"};
  check.test.insert(check.test.end(), words.begin(), words.end());
  ASSIGN_OR_RETURN(check.interval, ReadInterval("interval", interval));
  ASSIGN_OR_RETURN(check.timeout, ReadInterval("timeout", timeout));
  ASSIGN_OR_RETURN(check.start_period, ReadInterval("start-period", start_period));
  ASSIGN_OR_RETURN(check.start_interval, ReadInterval("start-interval", start_interval));
  if (!retries.empty()) {
    ASSIGN_OR_RETURN(const std::int64_t count, ParseInteger(retries, INT32_MIN, INT32_MAX));
    if (count < 0) return Invalid("--retries cannot be negative (", count, ")");
    check.retries = static_cast<int>(count);
  }
  return check;
}

absl::StatusOr<InstructionBody> ReadArg(const Node& node) {
  if (node.arguments.empty()) return NeedsArgument("ARG");
  ArgInstruction arg;
  for (const std::string& argument : node.arguments) {
    const std::size_t equals = argument.find('=');
    if (equals == 0) return BlankName("ARG");
    ArgDefinition definition;
    definition.key = argument.substr(0, equals);
    if (equals != std::string::npos) definition.value = argument.substr(equals + 1);
    definition.description = DescriptionOf(definition.key, node.comments);
    arg.args.push_back(std::move(definition));
  }
  return arg;
}

absl::StatusOr<InstructionBody> ReadEnv(const Node& node) {
  ASSIGN_OR_RETURN(std::vector<KeyValue> pairs, ReadPairs(node, "ENV"));
  return EnvInstruction{std::move(pairs)};
}

absl::StatusOr<InstructionBody> ReadLabel(const Node& node) {
  ASSIGN_OR_RETURN(std::vector<KeyValue> pairs, ReadPairs(node, "LABEL"));
  return LabelInstruction{std::move(pairs)};
}

absl::StatusOr<InstructionBody> ReadExpose(const Node& node) {
  if (node.arguments.empty()) return NeedsArgument("EXPOSE");
  RETURN_IF_ERROR(RefuseFlags(node));
  ExposeInstruction expose{node.arguments};
  std::sort(expose.ports.begin(), expose.ports.end());
  return expose;
}

absl::StatusOr<InstructionBody> ReadMaintainer(const Node& node) {
  ASSIGN_OR_RETURN(std::string name, ReadSingle(node, "MAINTAINER"));
  return MaintainerInstruction{std::move(name)};
}

absl::StatusOr<InstructionBody> ReadOnbuild(const Node& node) {
  if (node.arguments.empty()) return NeedsArgument("ONBUILD");
  RETURN_IF_ERROR(RefuseFlags(node));
  const std::string trigger = absl::AsciiStrToUpper(absl::StripAsciiWhitespace(node.arguments[0]));
  if (trigger == "ONBUILD") return Invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
  if (trigger == "MAINTAINER" || trigger == "FROM") return Invalid(trigger, " isn't allowed as an ONBUILD trigger");
  absl::string_view expression = absl::StripLeadingAsciiWhitespace(node.original);
  expression = absl::StripLeadingAsciiWhitespace(expression.substr(node.keyword.size()));
  OnbuildInstruction onbuild{std::string(expression)};
  for (const Heredoc& heredoc : node.heredocs) absl::StrAppend(&onbuild.expression, "\n", heredoc.content, heredoc.name);
  return onbuild;
}

absl::StatusOr<InstructionBody> ReadShell(const Node& node) {
  RETURN_IF_ERROR(RefuseFlags(node));
  if (node.arguments.empty()) return NeedsArgument("SHELL");
  if (!node.json) return Invalid("SHELL requires the arguments to be in JSON form");
  return ShellInstruction{node.arguments};
}

absl::StatusOr<InstructionBody> ReadStopsignal(const Node& node) {
  if (node.arguments.size() != 1) return NeedsOneArgument("STOPSIGNAL");
  return StopsignalInstruction{node.arguments[0]};
}

absl::StatusOr<InstructionBody> ReadUser(const Node& node) {
  ASSIGN_OR_RETURN(std::string user, ReadSingle(node, "USER"));
  return UserInstruction{std::move(user)};
}

absl::StatusOr<InstructionBody> ReadVolume(const Node& node) {
  if (node.arguments.empty()) return NeedsArgument("VOLUME");
  RETURN_IF_ERROR(RefuseFlags(node));
  VolumeInstruction volume;
  for (const std::string& argument : node.arguments) {
    volume.volumes.emplace_back(absl::StripAsciiWhitespace(argument));
    if (volume.volumes.back().empty()) return Invalid("VOLUME specified can not be an empty string");
  }
  return volume;
}

absl::StatusOr<InstructionBody> ReadWorkdir(const Node& node) {
  ASSIGN_OR_RETURN(std::string path, ReadSingle(node, "WORKDIR"));
  return WorkdirInstruction{std::move(path)};
}

}  // namespace cachalot::dockerfile
