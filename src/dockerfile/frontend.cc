#include "dockerfile/frontend.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/worker_pool.h"
#include "dockerfile/compile/build_context.h"
#include "dockerfile/compile/cache_imports.h"
#include "dockerfile/compile/compiler.h"
#include "dockerfile/compile/config.h"
#include "dockerfile/compile/image_resolver.h"
#include "dockerfile/compile/sbom.h"
#include "dockerfile/parse/directives.h"
#include "dockerfile/report/source_errors.h"
#include "dockerfile/report/subrequests.h"
#include "nlohmann/json.hpp"
#include "oci/reference.h"

namespace cachalot::dockerfile {
namespace {

constexpr int kMaxParallelPlatforms = 16;
constexpr char kSyntaxArg[] = "build-arg:BUILDKIT_SYNTAX";

// Images that hold the Dockerfile frontend itself: this frontend takes their place.
bool IsDockerfileFrontend(absl::string_view image) {
  const absl::StatusOr<oci::Reference> reference = oci::Reference::ParseNormalized(image);
  return reference.ok() && reference->registry == "docker.io" &&
         (reference->repository == "docker/dockerfile" || reference->repository == "docker/dockerfile-upstream");
}

struct PlatformBuild {
  std::optional<oci::Platform> platform;
  std::optional<Compiled> compiled;
  llb::RefPtr ref;
  absl::Status status;
};

nlohmann::ordered_json PlatformJson(const oci::Platform& platform) {
  nlohmann::ordered_json json;
  json["architecture"] = platform.architecture;
  json["os"] = platform.os;
  if (!platform.os_version.empty()) json["os.version"] = platform.os_version;
  if (!platform.os_features.empty()) json["os.features"] = platform.os_features;
  if (!platform.variant.empty()) json["variant"] = platform.variant;
  return json;
}

// One request to the frontend, phase by phase.
class Request {
 public:
  Request(llb::FrontendBridge& bridge, const Options& options, const Inputs& inputs)
      : bridge_(bridge), options_(options), inputs_(inputs), images_(bridge) {}

  absl::StatusOr<llb::FrontendResult> Run() {
    ASSIGN_OR_RETURN(config_, ParseConfig(options_));
    const absl::Status caps = CheckFrontendCaps(options_);
    if (!caps.ok() && !absl::StrContains(Option(options_, "frontend.caps"), "+forward")) return caps;
    ASSIGN_OR_RETURN(context_, BuildContext::Open(bridge_, options_, inputs_));
    ASSIGN_OR_RETURN(source_, context_->ReadDockerfile());
    ASSIGN_OR_RETURN(std::optional<llb::FrontendResult> forwarded, Forward());
    if (forwarded.has_value()) return *std::move(forwarded);
    RETURN_IF_ERROR(caps);
    if (const auto request = options_.find("requestid"); request != options_.end()) {
      return HandleSubrequest(request->second, {context_.get(), &images_, &config_, WarnSink(), source_});
    }
    std::optional<SbomScanner> scanner;
    if (config_.sbom.has_value()) {
      ASSIGN_OR_RETURN(scanner, MakeScanner());
    }
    RETURN_IF_ERROR(BuildPlatforms());
    return Result(scanner);
  }

 private:
  // Hands the request to the frontend image that the Dockerfile or the client names.
  absl::StatusOr<std::optional<llb::FrontendResult>> Forward() {
    if (options_.contains("cmdline")) return std::nullopt;
    const auto argument = options_.find(kSyntaxArg);
    std::optional<Directive> syntax;
    if (argument != options_.end()) {
      syntax = Directive{"syntax", argument->second, 0};
    } else {
      syntax = FindSyntax(source_->data);
    }
    if (!syntax.has_value()) return std::nullopt;
    const std::string command(absl::StripAsciiWhitespace(syntax->value));
    const std::string image = command.substr(0, command.find(' '));
    if (IsDockerfileFrontend(image)) return std::nullopt;
    llb::SolveRequest request;
    request.frontend = "gateway.v0";
    request.options = options_;
    request.options["cmdline"] = syntax->value;
    request.options["source"] = image;
    request.inputs = inputs_;
    absl::StatusOr<llb::FrontendResult> result = bridge_.Solve(request);
    if (result.ok()) return *std::move(result);
    if (HasSource(result.status())) return result.status();
    if (argument != options_.end()) return Annotate(result.status(), absl::StrCat("failed with ", kSyntaxArg, " = ", syntax->value));
    return WithSource(AtLines(result.status(), {syntax->line, syntax->line}), *source_);
  }

  LintSink WarnSink() {
    return [this](const LintRule& rule, const std::string& message, Lines lines) {
      solver::WarningEvent warning = WarningOf(rule, message, lines, *source_);
      warning.vertex = context_->dockerfile_vertex();
      bridge_.Warn(std::move(warning));
    };
  }

  absl::StatusOr<SbomScanner> MakeScanner() {
    llb::ResolveOptions options;
    options.platform = bridge_.default_platform();
    options.resolve_mode = std::string(ResolveModeName(config_.resolve_mode));
    ASSIGN_OR_RETURN(const llb::ResolvedImage image, images_.Resolve(config_.sbom->generator, options));
    return SbomScanner::Create(image, *options.platform, config_.sbom->parameters);
  }

  absl::StatusOr<llb::Attestation> Scan(const SbomScanner& scanner, const std::string& id, const Compiled& compiled) {
    SbomScanner::Target target{id, compiled.state, compiled.scan_stages, compiled.ignore_cache};
    if (compiled.scan_context) target.extras.emplace("context", compiled.context);
    return scanner.Scan(bridge_, target);
  }

  absl::Status BuildPlatforms() {
    for (const oci::Platform& platform : config_.platforms) builds_.push_back({platform, std::nullopt, nullptr, {}});
    if (builds_.empty()) builds_.emplace_back();
    {
      WorkerPool pool("df-platform", kMaxParallelPlatforms);
      for (std::size_t i = 1; i < builds_.size(); ++i) {
        pool.Run([this, i] { builds_[i].status = Build(&builds_[i], /*with_lint=*/false); });
      }
      builds_[0].status = Build(&builds_[0], /*with_lint=*/true);
    }
    for (const PlatformBuild& build : builds_) {
      if (!build.status.ok()) return WithSource(build.status, *source_);
    }
    return absl::OkStatus();
  }

  absl::Status Build(PlatformBuild* build, bool with_lint) {
    CompileRequest request{context_.get(), &images_, &config_, source_, build->platform, nullptr};
    if (with_lint) request.lint_sink = WarnSink();
    ASSIGN_OR_RETURN(build->compiled, Compile(request));
    llb::SolveRequest solve;
    ASSIGN_OR_RETURN(solve.definition, MarshalGraph(*build->compiled));
    ASSIGN_OR_RETURN(solve.cache_imports, ParseCacheImports(options_));
    ASSIGN_OR_RETURN(llb::FrontendResult result, bridge_.Solve(solve));
    build->ref = std::move(result.ref);
    return absl::OkStatus();
  }

  absl::StatusOr<llb::FrontendResult> Result(const std::optional<SbomScanner>& scanner) {
    llb::FrontendResult result;
    nlohmann::ordered_json platforms = nlohmann::ordered_json::array();
    for (PlatformBuild& build : builds_) {
      const Compiled& compiled = *build.compiled;
      oci::Platform platform = oci::Normalize(build.platform.has_value() ? *build.platform : oci::HostPlatform());
      const std::string id = oci::FormatPlatform(platform, /*with_version=*/true);
      const std::string suffix = config_.multi_platform ? absl::StrCat("/", id) : "";
      if (platform.os == "windows" && compiled.image.platform.os == platform.os) {
        if (platform.os_version.empty()) platform.os_version = compiled.image.platform.os_version;
        if (platform.os_features.empty()) platform.os_features = compiled.image.platform.os_features;
      }
      result.metadata[absl::StrCat("containerimage.config", suffix)] = oci::Serialize(compiled.image);
      if (compiled.base_image.has_value()) result.metadata[absl::StrCat("containerimage.base.config", suffix)] = oci::Serialize(*compiled.base_image);
      if (compiled.epoch.has_value()) result.metadata[absl::StrCat("source.date.epoch", suffix)] = absl::StrCat(absl::ToUnixSeconds(*compiled.epoch));
      if (scanner.has_value()) {
        ASSIGN_OR_RETURN(llb::Attestation attestation, Scan(*scanner, id, compiled));
        result.attestations[id].push_back(std::move(attestation));
      }
      platforms.push_back({{"ID", id}, {"Platform", PlatformJson(platform)}});
      if (config_.multi_platform) {
        result.refs[id] = std::move(build.ref);
      } else {
        result.ref = std::move(build.ref);
      }
    }
    nlohmann::ordered_json document;
    document["Platforms"] = std::move(platforms);
    result.metadata["refs.platforms"] = document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    return result;
  }

  llb::FrontendBridge& bridge_;
  const Options& options_;
  const Inputs& inputs_;
  ImageResolver images_;
  Config config_;
  std::unique_ptr<BuildContext> context_;
  std::shared_ptr<const llb::SourceInfo> source_;
  std::vector<PlatformBuild> builds_;
};

class DockerfileFrontend : public llb::Frontend {
 public:
  absl::StatusOr<llb::FrontendResult> Run(llb::FrontendBridge& bridge, const std::map<std::string, std::string>& options,
                                          const std::map<std::string, llb::Definition>& inputs) override {
    return Request(bridge, options, inputs).Run();
  }
};

}  // namespace

std::unique_ptr<llb::Frontend> NewFrontend() { return std::make_unique<DockerfileFrontend>(); }

}  // namespace cachalot::dockerfile
