// SOURCE_DATE_EPOCH: a number, or the name of something that has a date (the context, a named context, a stage that is one
// remote ADD).
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "dockerfile/compile/archive.h"
#include "dockerfile/compile/compiler.h"
#include "dockerfile/compile/git_ref.h"
#include "dockerfile/shell/quote.h"

namespace cachalot::dockerfile {
namespace {

constexpr char kName[] = "SOURCE_DATE_EPOCH";

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

constexpr std::int64_t kMaxArchiveBytes = 512 << 20;

// The source of a graph that has a single one and only copies it around; null otherwise.
const llb::SourceOp* OnlySource(const llb::VertexPtr& vertex) {
  const llb::Vertex* at = vertex.get();
  while (at != nullptr && at->inputs.size() == 1) at = at->inputs[0].vertex.get();
  return at == nullptr ? nullptr : std::get_if<llb::SourceOp>(&at->op);
}

}  // namespace

absl::Status Compiler::ResolveEpoch() {
  const auto given = build_args_.find(kName);
  const std::string value = given != build_args_.end() ? given->second : global_args_.Get(kName).value_or("");
  if (given == build_args_.end() && value.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(epoch_, EpochFrom(value));
  const std::string seconds = epoch_.has_value() ? absl::StrCat(absl::ToUnixSeconds(*epoch_)) : "";
  if (given != build_args_.end() && seconds.empty()) {
    build_args_.erase(given);
  } else if (given != build_args_.end()) {
    given->second = seconds;
  }
  if (!global_args_.Get(kName).has_value()) return absl::OkStatus();
  if (seconds.empty()) {
    global_args_.Remove(kName);
  } else {
    global_args_.Set(kName, seconds);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<absl::Time>> Compiler::EpochFrom(const std::string& value) {
  if (value.empty()) return std::nullopt;
  std::int64_t seconds = 0;
  if (absl::SimpleAtoi(value, &seconds)) return absl::FromUnixSeconds(seconds);
  llb::ResolveOptions options;
  ASSIGN_OR_RETURN(const llb::State state, EpochSource(value, &options.log_name));
  ASSIGN_OR_RETURN(const llb::Edge edge, state.ToEdge());
  const llb::SourceOp* source = OnlySource(edge.vertex);
  if (source == nullptr) return std::nullopt;
  const bool web = absl::StartsWith(source->identifier, "http://") || absl::StartsWith(source->identifier, "https://");
  if (!web && !absl::StartsWith(source->identifier, "git://")) return std::nullopt;
  const BuildContext& context = *request_.context;
  options.git_objects = true;
  ASSIGN_OR_RETURN(const llb::ResolvedSource resolved, context.bridge().ResolveSource(*source, options));
  if (resolved.time.has_value()) return absl::FromUnixSeconds(absl::ToUnixSeconds(*resolved.time));
  const auto filename = source->attrs.find("http.filename");
  if (!web || filename == source->attrs.end()) return std::nullopt;
  // An archive is as old as its youngest file.
  ASSIGN_OR_RETURN(const llb::RefPtr ref, context.Solve(llb::Source(source->identifier, source->attrs)));
  ASSIGN_OR_RETURN(const std::string bytes, context.bridge().ReadFile(ref, filename->second, 0, kMaxArchiveBytes));
  return LatestFileTime(bytes);
}

absl::StatusOr<llb::State> Compiler::EpochSource(const std::string& value, std::string* log_name) {
  if (value == "context") {
    *log_name = "[internal] resolve main build context metadata";
    return request_.context->MainContext(std::make_shared<PathSet>());
  }
  ASSIGN_OR_RETURN(const std::optional<NamedContext> context, NamedContext::Find(*request_.context, *request_.images, value, {}));
  if (context.has_value()) {
    *log_name = absl::StrCat("[internal] resolve SOURCE_DATE_EPOCH named context ", value);
    ASSIGN_OR_RETURN(NamedContext::Loaded loaded, context->Load());
    return std::move(loaded.state);
  }
  for (const Stage& stage : program_.stages) {
    if (!absl::EqualsIgnoreCase(stage.name, value)) continue;
    *log_name = absl::StrCat("[internal] resolve SOURCE_DATE_EPOCH source stage ", stage.name);
    absl::StatusOr<llb::State> source = EpochStageSource(stage);
    if (!source.ok()) return AtLines(source.status(), stage.lines);
    return source;
  }
  return Invalid("invalid SOURCE_DATE_EPOCH: ", value);
}

absl::StatusOr<llb::State> Compiler::EpochStageSource(const Stage& stage) {
  Variables environment = global_args_;
  environment.Remove(kName);
  const absl::StatusOr<Expansion> base = expander_.Expand(stage.base, environment);
  if (!base.ok()) return Annotate(base.status(), absl::StrCat("failed to process source stage base name ", GoQuote(stage.base)));
  if (base->text != "scratch") return Invalid("SOURCE_DATE_EPOCH stage must use FROM scratch");
  std::optional<llb::State> source;
  for (const Instruction& instruction : stage.instructions) {
    if (const auto* arg = std::get_if<ArgInstruction>(&instruction.body)) {
      for (const ArgDefinition& definition : arg->args) {
        if (const auto given = build_args_.find(definition.key); given != build_args_.end()) {
          environment.Set(definition.key, given->second);
        } else if (definition.value.has_value()) {
          ASSIGN_OR_RETURN(const Expansion expansion, expander_.Expand(*definition.value, environment));
          environment.Set(definition.key, expansion.text);
        }
      }
    } else if (const auto* add = std::get_if<AddInstruction>(&instruction.body)) {
      if (source.has_value()) return Invalid("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD");
      ASSIGN_OR_RETURN(source, EpochAddSource(*add, environment));
    } else {
      return Invalid("SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported ", instruction.keyword, " instruction");
    }
  }
  if (!source.has_value()) return Invalid("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD");
  return *std::move(source);
}

absl::StatusOr<llb::State> Compiler::EpochAddSource(const AddInstruction& add, const Environment& environment) {
  if (!add.paths.files.empty() || add.paths.sources.size() != 1) return Invalid("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD source");
  ASSIGN_OR_RETURN(const Expansion expansion, expander_.Expand(add.paths.sources[0], environment));
  ASSIGN_OR_RETURN(const Expansion checksum, expander_.Expand(add.checksum, environment));
  const std::string& source = expansion.text;
  if (IsHttpSource(source)) {
    llb::HttpOptions options;
    options.filename = FileNameOfUrl(source);
    options.checksum = checksum.text;
    return llb::Http(source, options);
  }
  ASSIGN_OR_RETURN(const std::optional<GitRef> git, ParseGitRef(source));
  if (!git.has_value() || git->looks_local) return Invalid("SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD");
  llb::GitOptions options = git->ToOptions();
  options.keep_git_dir = options.keep_git_dir || add.keep_git_dir.value_or(false);
  if (!checksum.text.empty()) options.checksum = checksum.text;
  options.mtime.clear();
  options.fetch_by_commit = false;
  return llb::Git(git->remote, options);
}

}  // namespace cachalot::dockerfile
