#include "dockerfile/report/subrequests.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "dockerfile/instructions/reader.h"
#include "dockerfile/parse/parser.h"
#include "dockerfile/report/source_errors.h"
#include "dockerfile/report/table.h"
#include "llb/describe.h"
#include "nlohmann/json.hpp"

namespace cachalot::dockerfile {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kOutline[] = "frontend.outline";
constexpr char kTargets[] = "frontend.targets";
constexpr char kLint[] = "frontend.lint";
constexpr char kConvert[] = "frontend.convertllb";
constexpr char kDescribe[] = "frontend.subrequests.describe";
constexpr char kVersion[] = "1.0.0";
constexpr char kConvertVersion[] = "0.1.0";

std::string Dump(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace); }

llb::FrontendResult Answer(const Json& json, std::string text) {
  llb::FrontendResult result;
  result.metadata["result.json"] = Dump(json);
  result.metadata["result.txt"] = std::move(text);
  result.metadata["version"] = kVersion;
  return result;
}

Json LocationJson(const std::vector<Lines>& lines) {
  Json ranges = Json::array();
  for (const solver::SourceRange& range : RangesOf(lines)) {
    ranges.push_back({{"start", {{"line", range.start_line}}}, {"end", {{"line", range.end_line}}}});
  }
  return {{"ranges", std::move(ranges)}};
}

void SetUnlessEmpty(Json* json, const char* name, const std::string& value) {
  if (!value.empty()) (*json)[name] = value;
}

// -- targets ------------------------------------------------------------------------------------------------------------
absl::StatusOr<llb::FrontendResult> ListTargets(const llb::SourceInfo& source) {
  ASSIGN_OR_RETURN(const File file, ParseFile(source.data));
  ASSIGN_OR_RETURN(const Program program, ReadProgram(file, Linter()));
  Json targets = Json::array();
  std::vector<std::vector<std::string>> rows = {{"TARGET", "DESCRIPTION"}};
  for (const Stage& stage : program.stages) {
    const bool is_default = &stage == &program.stages.back();
    Json target = Json::object();
    SetUnlessEmpty(&target, "name", stage.name);
    if (is_default) target["default"] = true;
    SetUnlessEmpty(&target, "description", stage.description);
    SetUnlessEmpty(&target, "base", stage.base);
    SetUnlessEmpty(&target, "platform", stage.platform);
    target["location"] = LocationJson({stage.lines});
    targets.push_back(std::move(target));
    const char* mark = !is_default ? "" : stage.name.empty() ? "(default)" : " (default)";
    rows.push_back({absl::StrCat(stage.name, mark), stage.description});
  }
  return Answer({{"targets", std::move(targets)}, {"sources", {absl::Base64Escape(source.data)}}}, FormatTable(rows, 1));
}

// -- outline ------------------------------------------------------------------------------------------------------------
struct OutlineEntry {
  int line = 0;
  Json json;
  std::vector<std::string> row;
};

// Gathers what a stage and all it builds on need, each name once.
class OutlineReader {
 public:
  void Visit(StageState* stage) {
    if (!visited_.insert(stage).second) return;
    ReadArgs(&stage->outline);
    ReadNeeds(stage->outline.secrets, &seen_secrets_, &secrets);
    ReadNeeds(stage->outline.ssh, &seen_ssh_, &ssh);
    if (stage->base != nullptr) Visit(stage->base);
    for (StageState* dep : DepsInOrder(*stage)) Visit(dep);
  }

  std::vector<OutlineEntry> args, secrets, ssh;

 private:
  // In the order of the commands that read them, those of one command in that of the stages.
  static std::vector<StageState*> DepsInOrder(const StageState& stage) {
    std::vector<std::tuple<int, int, StageState*>> places;
    for (const auto& [dep, lines] : stage.deps) places.emplace_back(lines.first, dep->stage.lines.first, dep);
    std::sort(places.begin(), places.end());
    std::vector<StageState*> deps;
    for (const auto& place : places) deps.push_back(std::get<StageState*>(place));
    return deps;
  }

  // An argument that another one's default mentions is used, too.
  void MarkUsed(Outline* outline) {
    std::vector<std::string> pending(outline->used_args.begin(), outline->used_args.end());
    std::set<std::string> visited;
    while (!pending.empty()) {
      const std::string name = std::move(pending.back());
      pending.pop_back();
      if (!visited.insert(name).second) continue;
      outline->used_args.insert(name);
      const auto arg = outline->args.find(name);
      if (arg != outline->args.end()) pending.insert(pending.end(), arg->second.depends_on.begin(), arg->second.depends_on.end());
    }
  }

  void ReadArgs(Outline* outline) {
    MarkUsed(outline);
    for (const std::string& name : outline->used_args) {
      const auto found = outline->args.find(name);
      if (found == outline->args.end() || !seen_args_.insert(name).second) continue;
      const Outline::Arg& arg = found->second;
      Json json = {{"name", arg.definition.key}};
      SetUnlessEmpty(&json, "description", arg.definition.description);
      SetUnlessEmpty(&json, "value", arg.value);
      json["location"] = LocationJson({arg.lines});
      args.push_back({arg.lines.first, std::move(json), {arg.definition.key, arg.value, arg.definition.description}});
    }
  }

  static void ReadNeeds(const std::map<std::string, Outline::Need>& needs, std::set<std::string>* seen, std::vector<OutlineEntry>* entries) {
    for (const auto& [name, need] : needs) {
      if (!seen->insert(name).second) continue;
      Json json = {{"name", name}};
      if (need.required) json["required"] = true;
      json["location"] = LocationJson({need.lines});
      entries->push_back({need.lines.first, std::move(json), {name, need.required ? "true" : ""}});
    }
  }

  std::set<StageState*> visited_;
  std::set<std::string> seen_args_, seen_secrets_, seen_ssh_;
};

// Adds the entries, in the order of their lines, to the document and the text.
void AddEntries(const char* name, std::vector<std::string> head, std::vector<OutlineEntry> entries, Json* json, std::string* text) {
  if (entries.empty()) return;
  std::stable_sort(entries.begin(), entries.end(), [](const OutlineEntry& a, const OutlineEntry& b) { return a.line < b.line; });
  std::vector<std::vector<std::string>> rows = {std::move(head)};
  Json list = Json::array();
  for (OutlineEntry& entry : entries) {
    list.push_back(std::move(entry.json));
    rows.push_back(std::move(entry.row));
  }
  (*json)[name] = std::move(list);
  absl::StrAppend(text, FormatTable(rows, 3), "\n");
}

CompileRequest CompileRequestOf(const SubrequestContext& context) {
  CompileRequest request;
  request.context = context.context;
  request.images = context.images;
  request.config = context.config;
  request.source = context.source;
  request.lint_sink = context.warn;
  return request;
}

absl::StatusOr<llb::FrontendResult> DescribeOutline(const SubrequestContext& context) {
  const CompileRequest request = CompileRequestOf(context);
  const absl::StatusOr<Compiled> compiled = Compile(request);
  if (!compiled.ok()) return WithSource(compiled.status(), *context.source);
  OutlineReader reader;
  reader.Visit(compiled->target);
  const Stage& stage = compiled->target->stage;
  Json json = Json::object();
  std::string text;
  SetUnlessEmpty(&json, "name", stage.name);
  SetUnlessEmpty(&json, "description", stage.description);
  if (!stage.name.empty() || !stage.description.empty()) {
    std::vector<std::vector<std::string>> rows = {{"TARGET:", stage.name.empty() ? "(default)" : stage.name}};
    if (!stage.description.empty()) rows.push_back({"DESCRIPTION:", stage.description});
    for (const std::vector<std::string>& row : rows) absl::StrAppend(&text, row[0], " ", row[1], "\n");
    absl::StrAppend(&text, "\n");
  }
  AddEntries("args", {"BUILD ARG", "VALUE", "DESCRIPTION"}, std::move(reader.args), &json, &text);
  AddEntries("secrets", {"SECRET", "REQUIRED"}, std::move(reader.secrets), &json, &text);
  AddEntries("ssh", {"SSH", "REQUIRED"}, std::move(reader.ssh), &json, &text);
  json["sources"] = {absl::Base64Escape(context.source->data)};
  return Answer(json, std::move(text));
}

// -- lint ---------------------------------------------------------------------------------------------------------------
struct Finding {
  const LintRule* rule;
  std::string message;
  Lines lines;
};

// The lines around a place, the place itself marked.
std::string Excerpt(const llb::SourceInfo& source, Lines place) {
  const std::vector<std::string> lines = absl::StrSplit(source.data, '\n');
  const int count = static_cast<int>(lines.size());
  if (place.first < 1 || place.first > count) return "";
  int start = place.first;
  int end = std::min(place.last, count);
  const int wanted = end == start ? 4 : 2;
  for (int padded = 0; padded < wanted; ++padded) {
    if (start > 1) {
      --start;
      ++padded;
    }
    if (end != count) {
      ++end;
      ++padded;
    }
  }
  constexpr absl::string_view kRule = "--------------------\n";
  std::string out = absl::StrCat(source.filename, ":", place.first, "\n", kRule);
  for (int i = start; i <= end; ++i) {
    absl::StrAppendFormat(&out, " %3d | %s %s\n", i, i >= place.first && i <= place.last ? ">>>" : "   ", lines[i - 1]);
  }
  return absl::StrCat(out, kRule);
}

absl::StatusOr<Json> SourceJson(const llb::SourceInfo& source) {
  Json json = Json::object();
  SetUnlessEmpty(&json, "filename", source.filename);
  SetUnlessEmpty(&json, "data", absl::Base64Escape(source.data));
  if (!source.definition.empty()) {
    ASSIGN_OR_RETURN(json["definition"], llb::DefinitionJson(source.definition));
  }
  SetUnlessEmpty(&json, "language", source.language);
  return json;
}

absl::StatusOr<llb::FrontendResult> LintDockerfile(const SubrequestContext& context) {
  std::vector<Finding> findings;
  CompileRequest request = CompileRequestOf(context);
  request.lint_sink = [&findings](const LintRule& rule, const std::string& message, Lines lines) { findings.push_back({&rule, message, lines}); };
  request.all_stages = context.config->target.empty();
  const absl::Status status = Compile(request).status();

  Json warnings = Json::array();
  for (const Finding& finding : findings) {
    Json warning = {{"ruleName", std::string(finding.rule->name)}, {"description", std::string(finding.rule->description)}};
    SetUnlessEmpty(&warning, "url", std::string(finding.rule->url));
    SetUnlessEmpty(&warning, "detail", finding.message);
    warning["location"] = LocationJson({finding.lines});
    warnings.push_back(std::move(warning));
  }
  Json json;
  json["warnings"] = findings.empty() ? Json() : std::move(warnings);
  ASSIGN_OR_RETURN(Json source, SourceJson(*context.source));
  json["sources"] = Json::array({std::move(source)});
  if (!status.ok()) {
    const std::vector<Lines> lines = LinesOf(status);
    json["buildError"] = {{"message", std::string(status.message())}, {"location", lines.empty() ? Json::object() : LocationJson(lines)}};
  }
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) { return a.lines.first < b.lines.first; });
  std::string text;
  for (const Finding& finding : findings) {
    absl::StrAppend(&text, "\nWARNING: ", finding.rule->name, finding.rule->url.empty() ? "" : " - ", finding.rule->url, "\n", finding.message, "\n",
                    Excerpt(*context.source, finding.lines));
  }
  llb::FrontendResult result = Answer(json, std::move(text));
  result.metadata["result.statuscode"] = findings.empty() && status.ok() ? "0" : "1";
  return result;
}

// -- convert ------------------------------------------------------------------------------------------------------------
absl::StatusOr<llb::FrontendResult> ConvertToGraph(const SubrequestContext& context) {
  const absl::StatusOr<Compiled> compiled = Compile(CompileRequestOf(context));
  if (!compiled.ok()) return WithSource(compiled.status(), *context.source);
  ASSIGN_OR_RETURN(const llb::Definition definition, MarshalGraph(*compiled));
  ASSIGN_OR_RETURN(const Json json, llb::DescribeDefinition(definition));
  llb::FrontendResult result;
  result.metadata["result.json"] = Dump(json);
  result.metadata["version"] = kConvertVersion;
  return result;
}

// -- describe -----------------------------------------------------------------------------------------------------------
Json RequestJson(const char* name, const char* description, Json options) {
  Json metadata = Json::array();
  for (const char* key : {"result.json", "result.txt"}) metadata.push_back({{"name", key}, {"description", ""}});
  return {{"name", name},
          {"version", kVersion},
          {"type", "rpc"},
          {"description", description},
          {"opts", std::move(options)},
          {"inputs", nullptr},
          {"metadata", std::move(metadata)},
          {"refs", nullptr}};
}

llb::FrontendResult DescribeSubrequests() {
  Json requests = Json::array();
  requests.push_back(RequestJson(kOutline, "List all parameters current build target supports",
                                 Json::array({{{"name", "target"}, {"description", "Target build stage"}}})));
  requests.push_back(RequestJson(kTargets, "List all targets current build supports", Json::array()));
  requests.push_back(RequestJson(kDescribe, "List available subrequest types", nullptr));
  std::vector<std::vector<std::string>> rows = {{"NAME", "VERSION", "DESCRIPTION"}};
  for (const Json& request : requests) {
    const std::string name = request["name"];
    rows.push_back({std::string(absl::StripPrefix(name, "frontend.")), request["version"], request["description"]});
  }
  return Answer(requests, FormatTable(rows, 1));
}

}  // namespace

absl::StatusOr<llb::FrontendResult> HandleSubrequest(const std::string& request, const SubrequestContext& context) {
  if (request == kDescribe) return DescribeSubrequests();
  if (request == kOutline) return DescribeOutline(context);
  if (request == kTargets) return ListTargets(*context.source);
  if (request == kLint) return LintDockerfile(context);
  if (request == kConvert) return ConvertToGraph(context);
  absl::Status status = absl::UnimplementedError(absl::StrCat("unsupported request ", request));
  status.SetPayload("github.com/moby/buildkit/errdefs.Subrequest+json", absl::Cord(Json({{"name", request}}).dump()));
  return status;
}

}  // namespace cachalot::dockerfile
