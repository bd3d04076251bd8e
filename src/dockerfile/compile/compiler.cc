#include "dockerfile/compile/compiler.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/suggest.h"
#include "base/worker_pool.h"
#include "dockerfile/compile/checks.h"
#include "dockerfile/instructions/reader.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/parse/directives.h"
#include "dockerfile/parse/parser.h"

namespace cachalot::dockerfile {
namespace {

// The proxies among the build arguments, in whatever case they are spelled.
std::optional<llb::ProxyEnv> ProxyOf(const std::map<std::string, std::string>& build_args) {
  llb::ProxyEnv proxy;
  bool any = false;
  for (const auto& [name, value] : build_args) {
    for (const auto& [known, place] : std::initializer_list<std::pair<absl::string_view, std::string*>>{{"http_proxy", &proxy.http_proxy},
                                                                                                        {"https_proxy", &proxy.https_proxy},
                                                                                                        {"ftp_proxy", &proxy.ftp_proxy},
                                                                                                        {"no_proxy", &proxy.no_proxy},
                                                                                                        {"all_proxy", &proxy.all_proxy}}) {
      if (!absl::EqualsIgnoreCase(name, known)) continue;
      *place = value;
      any = true;
    }
  }
  return any ? std::optional<llb::ProxyEnv>(proxy) : std::nullopt;
}

Variables PlatformArgs(const oci::Platform& build, const oci::Platform& target, const std::string& stage,
                       const std::map<std::string, std::string>& overrides) {
  const std::pair<const char*, std::string> defaults[] = {
      {"BUILDPLATFORM", oci::FormatPlatform(build)},
      {"BUILDOS", build.os},
      {"BUILDOSVERSION", build.os_version},
      {"BUILDARCH", build.architecture},
      {"BUILDVARIANT", build.variant},
      {"TARGETPLATFORM", oci::FormatPlatform(target, /*with_version=*/true)},
      {"TARGETOS", target.os},
      {"TARGETOSVERSION", target.os_version},
      {"TARGETARCH", target.architecture},
      {"TARGETVARIANT", target.variant},
      {"TARGETSTAGE", stage.empty() ? "default" : stage},
  };
  Variables args;
  for (const auto& [name, value] : defaults) {
    const auto override = overrides.find(name);
    args.Set(name, override == overrides.end() ? value : override->second);
  }
  return args;
}

// Adds the ARG instructions before the first FROM to `args`.
absl::Status AddGlobalArgs(const std::vector<Instruction>& instructions, const std::map<std::string, std::string>& build_args,
                           const Expander& expander, Variables* args, std::map<std::string, Outline::Arg>* outline) {
  for (const Instruction& instruction : instructions) {
    for (ArgDefinition definition : std::get<ArgInstruction>(instruction.body).args) {
      Outline::Arg info{definition, "", {}, instruction.lines};
      const auto given = build_args.find(definition.key);
      if (given != build_args.end()) {
        definition.value = given->second;
      } else if (definition.value.has_value()) {
        const absl::StatusOr<Expansion> expansion = expander.Expand(*definition.value, *args);
        if (!expansion.ok()) return AtLines(expansion.status(), instruction.lines);
        definition.value = expansion->text;
        info.depends_on = expansion->matched;
        if (info.depends_on.erase(definition.key) > 0) {
          if (const auto old = outline->find(definition.key); old != outline->end()) {
            info.depends_on.insert(old->second.depends_on.begin(), old->second.depends_on.end());
          }
        }
      }
      if (definition.value.has_value()) {
        args->Set(definition.key, *definition.value);
        info.value = *definition.value;
      }
      (*outline)[definition.key] = std::move(info);
    }
  }
  return absl::OkStatus();
}

}  // namespace

Compiler::Compiler(const CompileRequest& request) : request_(request), config_(*request.config) {
  build_args_ = config_.build_args;
  build_platform_ = request.context->bridge().default_platform();
  implicit_target_ = !request.platform.has_value();
  target_platform_ = request.platform.value_or(build_platform_);
  proxy_ = ProxyOf(build_args_);
}

absl::StatusOr<Compiled> Compiler::Run() {
  RETURN_IF_ERROR(ReadText());
  RETURN_IF_ERROR(ResolveGlobalArgs());
  RETURN_IF_ERROR(ResolveEpoch());
  RETURN_IF_ERROR(CreateStages());
  ASSIGN_OR_RETURN(StageState * target, FindTarget());
  RETURN_IF_ERROR(LinkStages());
  // The ignore file is needed later: it may come while the images are looked up.
  WorkerPool ahead("df-ignore", 1);
  ahead.Run([this] { request_.context->IgnorePatterns().status().IgnoreError(); });
  RETURN_IF_ERROR(ResolveBases(target));
  RETURN_IF_ERROR(DispatchStages(target));
  return Finish(target);
}

absl::Status Compiler::ReadText() {
  const std::string& text = request_.source->data;
  if (text.empty()) return absl::InvalidArgumentError("the Dockerfile cannot be empty");
  LintConfig lint;
  if (config_.lint.has_value()) {
    lint = *config_.lint;
  } else if (const std::optional<Directive> check = FindDirective("check", text)) {
    absl::StatusOr<LintConfig> parsed = ParseLintOptions(check->value.substr(0, check->value.find(' ')));
    if (!parsed.ok()) return Annotate(parsed.status(), "failed to parse check options");
    lint = *std::move(parsed);
  }
  linter_ = Linter(lint, request_.lint_sink);

  ASSIGN_OR_RETURN(const File file, ParseFile(text));
  for (const int line : file.empty_continuations) linter_.Report(kNoEmptyContinuation, {line, line}, "Empty continuation line");
  ASSIGN_OR_RETURN(program_, ReadProgram(file, linter_));
  if (program_.stages.empty()) return absl::InvalidArgumentError("dockerfile contains no stages to build");
  expander_ = Expander({.escape = file.escape}, budget_);
  CheckStageNames(program_.stages, linter_);
  CheckCasing(program_.stages, linter_);
  return absl::OkStatus();
}

absl::Status Compiler::ResolveGlobalArgs() {
  const std::string& stage = config_.target.empty() ? program_.stages.back().name : config_.target;
  const Variables platform_args = PlatformArgs(build_platform_, target_platform_, stage, build_args_);

  // Base images should make sense with the defaults alone.
  Variables defaults = platform_args;
  std::map<std::string, Outline::Arg> unused;
  if (AddGlobalArgs(program_.global_args, {}, expander_, &defaults, &unused).ok()) {
    CheckDefaultBases(program_.stages, expander_, defaults, linter_);
  }
  global_args_ = platform_args;
  return AddGlobalArgs(program_.global_args, build_args_, expander_, &global_args_, &global_outline_.args);
}

absl::StatusOr<StageState*> Compiler::FindTarget() {
  if (config_.target.empty()) return stages_.back().get();
  if (StageState* stage = FindStage(config_.target); stage != nullptr) return stage;
  return WithSuggestion(absl::NotFoundError(absl::StrCat("target stage \"", config_.target, "\" could not be found")), config_.target, StageNames());
}

absl::Status Compiler::DispatchStages(StageState* target) {
  ASSIGN_OR_RETURN(const std::vector<std::string> ignored, request_.context->IgnorePatterns());
  if (!ignored.empty()) {
    ASSIGN_OR_RETURN(ignore_, PatternMatcher::Create(ignored));
  }
  ASSIGN_OR_RETURN(context_, request_.context->MainContext(context_paths_));
  const std::set<StageState*> reachable = ReachableFrom(target);
  for (const std::shared_ptr<StageState>& stage : stages_) {
    if (stage->dispatched || (!request_.all_stages && !reachable.contains(stage.get()))) continue;
    RETURN_IF_ERROR(DispatchStage(stage.get()));
  }
  target->paths->insert("/");
  return absl::OkStatus();
}

absl::Status Compiler::DispatchStage(StageState* stage) {
  stage->InheritFromBase();
  stage->dispatched = true;
  if (!stage->platform.has_value()) stage->platform = target_platform_;
  if (absl::Status status = PrepareEnvironment(stage); !status.ok()) return AtLines(std::move(status), stage->stage.lines);
  for (Command& command : stage->commands) {
    if (absl::Status status = Dispatch(stage, &command); !status.ok()) return AtLines(std::move(status), command.instruction.lines);
  }
  ReadScanFlags(stage);
  return absl::OkStatus();
}

absl::Status Compiler::PrepareEnvironment(StageState* stage) {
  std::vector<std::string>& env = stage->image.config.env;
  if (!Variables(env).Get("PATH").has_value()) {
    if (const absl::string_view path = DefaultPath(*stage->platform); !path.empty()) env.push_back(absl::StrCat("PATH=", path));
  }
  stage->state = stage->state.Edit([&](llb::ProcessSettings& settings) {
    for (const std::string& entry : env) {
      const std::size_t equals = entry.find('=');
      settings.SetEnv(entry.substr(0, equals), equals == std::string::npos ? "" : entry.substr(equals + 1));
    }
    if (!config_.hostname.empty()) settings.hostname = config_.hostname;
    if (!stage->image.config.user.empty()) settings.user = stage->image.config.user;
    settings.network = config_.network;
  });
  if (!stage->image.config.working_dir.empty()) return SetWorkdir(stage, std::string(stage->image.config.working_dir));
  return absl::OkStatus();
}

// Build arguments that ask for the stage, or the context, to be scanned for an SBOM: a boolean or a list of stages.
void Compiler::ReadScanFlags(StageState* stage) {
  for (const auto& [name, flag] :
       {std::pair("BUILDKIT_SBOM_SCAN_CONTEXT", &stage->scan_context), std::pair("BUILDKIT_SBOM_SCAN_STAGE", &stage->scan_stage)}) {
    std::optional<std::string> value = global_args_.Get(name);
    for (const ArgDefinition& arg : stage->build_args) {
      if (arg.key == name && arg.value.has_value()) value = arg.value;
    }
    if (value.has_value()) *flag = IsEnabledFor(stage->name, *value);
  }
}

absl::StatusOr<Compiled> Compiler::Finish(StageState* target) {
  RETURN_IF_ERROR(linter_.Verdict());
  Compiled compiled;
  compiled.target = target;
  compiled.image = target->image;
  for (const auto& [name, value] : config_.labels) compiled.image.config.labels[name] = value;
  if (!implicit_target_) {
    oci::Platform& platform = compiled.image.platform;
    const bool same = platform.os == target_platform_.os && platform.architecture == target_platform_.architecture;
    platform.os = target_platform_.os;
    platform.architecture = target_platform_.architecture;
    if (!target_platform_.variant.empty() || !same) platform.variant = target_platform_.variant;
    if (!target_platform_.os_version.empty() || !same) platform.os_version = target_platform_.os_version;
    if (!target_platform_.os_features.empty()) platform.os_features = target_platform_.os_features;
  }
  compiled.image.platform = oci::Normalize(compiled.image.platform);
  compiled.base_image = target->base_image;
  compiled.epoch = target->epoch;
  compiled.state = target->state;
  compiled.platform = target_platform_;
  compiled.context = context_;
  compiled.scan_context = target->scan_context;
  compiled.ignore_cache = target->ignore_cache;
  for (StageState* stage : ReachableFrom(target)) {
    if (stage == target || !stage->scan_stage) continue;
    compiled.scan_stages.emplace(stage->name, stage->state);
    compiled.ignore_cache |= stage->ignore_cache;
  }
  compiled.stages = std::move(stages_);
  return compiled;
}

absl::StatusOr<Compiled> Compile(const CompileRequest& request) { return Compiler(request).Run(); }

absl::StatusOr<llb::Definition> MarshalGraph(const Compiled& compiled) {
  llb::MarshalOptions options;
  options.defaults.platform = compiled.platform;
  absl::StatusOr<llb::Definition> definition = compiled.state.Marshal(options);
  if (!definition.ok()) return Annotate(definition.status(), "failed to marshal LLB definition");
  return definition;
}

}  // namespace cachalot::dockerfile
