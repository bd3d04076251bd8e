#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/suggest.h"
#include "base/worker_pool.h"
#include "dockerfile/compile/checks.h"
#include "dockerfile/compile/compiler.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/shell/quote.h"
#include "oci/reference.h"

namespace cachalot::dockerfile {
namespace {

constexpr int kMaxParallelResolves = 16;
constexpr int kMaxOnBuildRounds = 100;

// Names that people mistype.
std::vector<std::string> CommonImages() {
  std::vector<std::string> names;
  for (const absl::string_view name : {"alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"}) {
    names.emplace_back(name);
    names.push_back(absl::StrCat(name, ":latest"));
  }
  return names;
}

bool HasLayers(const oci::ImageConfig& image) {
  if (!image.diff_ids.empty()) return true;
  return std::any_of(image.history.begin(), image.history.end(), [](const oci::HistoryEntry& entry) { return !entry.empty_layer; });
}

}  // namespace

absl::Status Compiler::ResolveBases(StageState* target) {
  // Triggers of a base image may name further images.
  for (int round = 0; round < kMaxOnBuildRounds; ++round) {
    RETURN_IF_ERROR(ResolveReachable(target));
    bool new_deps = false;
    const std::set<StageState*> reachable = ReachableFrom(target);
    const std::vector<std::shared_ptr<StageState>> stages = stages_;
    for (const std::shared_ptr<StageState>& stage : stages) {
      if (!reachable.contains(stage.get())) continue;
      absl::StatusOr<bool> added = AddOnBuildTriggers(stage.get());
      if (!added.ok()) return AtLines(WithoutLines(added.status()), stage->stage.lines);
      new_deps |= *added;
    }
    if (!new_deps) return absl::OkStatus();
  }
  return absl::InvalidArgumentError("onbuild triggers never end");
}

absl::Status Compiler::ResolveReachable(StageState* target) {
  const std::set<StageState*> reachable = ReachableFrom(target);
  std::vector<std::pair<StageState*, absl::Status>> resolving;
  for (const std::shared_ptr<StageState>& stage : stages_) {
    if (stage->base != nullptr || stage->dispatched || stage->resolved) continue;
    const bool needed = request_.all_stages || reachable.contains(stage.get());
    stage->resolved = needed;
    if (stage->stage.base == "scratch" && !stage->named_context.has_value()) {
      stage->state = llb::Scratch();
      stage->image = EmptyImage(target_platform_);
      stage->platform = target_platform_;
      stage->dispatched = !stage->registered;
    } else {
      resolving.emplace_back(stage.get(), absl::OkStatus());
    }
  }
  const auto resolve = [this](StageState* stage) {
    absl::Status status = ResolveBase(stage, stage->resolved);
    if (!stage->registered) stage->dispatched = true;
    return AtLines(std::move(status), stage->stage.lines);
  };
  {
    WorkerPool pool("df-resolve", kMaxParallelResolves);
    for (auto& [stage, status] : resolving) {
      if (stage->resolved && resolving.size() > 1) {
        pool.Run([&resolve, stage = stage, status = &status] { *status = resolve(stage); });
      } else {
        status = resolve(stage);
      }
    }
  }
  for (const auto& entry : resolving) RETURN_IF_ERROR(entry.second);
  return absl::OkStatus();
}

absl::Status Compiler::ResolveBase(StageState* stage, bool reachable) {
  const std::string name = stage->stage.base;
  const absl::StatusOr<oci::Reference> reference = oci::Reference::ParseNormalized(name);
  if (!reference.ok()) return Annotate(reference.status(), absl::StrCat("failed to parse stage name ", GoQuote(name)));
  oci::Platform platform = PlatformOf(*stage);
  stage->stage.base = reference->str();

  bool is_scratch = false;
  if (reachable) {
    if (stage->named_context.has_value()) {
      ASSIGN_OR_RETURN(NamedContext::Loaded loaded, stage->named_context->Load());
      stage->dispatched = true;
      stage->state = std::move(loaded.state);
      if (!loaded.image.has_value()) return absl::OkStatus();
      stage->image = *std::move(loaded.image);
      if (!stage->image.platform.os.empty() && !stage->image.platform.architecture.empty()) stage->platform = stage->image.platform;
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const bool replaced, UseNamedBase(stage, platform));
    if (replaced) return absl::OkStatus();
    RETURN_IF_ERROR(ResolveImage(stage, name, *reference, &platform, &is_scratch));
  }
  if (is_scratch) {
    stage->state = llb::Scratch();
  } else {
    llb::ImageOptions options;
    options.resolve_mode = config_.resolve_mode;
    options.constraints = At(stage->stage.lines);
    options.constraints.For(platform)
        .Described("com.docker.dockerfile.v1.command", stage->stage.code)
        .Named(stage->StepName(absl::StrCat("FROM ", stage->stage.base), platform, nullptr));
    stage->state = llb::Image(stage->stage.base, options);
    if (reachable) CheckBasePlatform(name, platform, stage->image.platform, stage->stage.lines, linter_);
  }
  stage->platform = platform;
  return absl::OkStatus();
}

// A named context may stand in the place of the base image.
absl::StatusOr<bool> Compiler::UseNamedBase(StageState* stage, const oci::Platform& platform) {
  NamedContextOptions options{platform, std::string(ResolveModeName(config_.resolve_mode)), stage->paths};
  ASSIGN_OR_RETURN(const std::optional<NamedContext> context,
                   NamedContext::Find(*request_.context, *request_.images, stage->stage.base, std::move(options)));
  if (!context.has_value()) return false;
  ASSIGN_OR_RETURN(NamedContext::Loaded loaded, context->Load());
  stage->image = loaded.image.has_value() ? *std::move(loaded.image) : EmptyImage(platform);
  stage->base_image = stage->image;
  stage->image.created.reset();
  stage->state = loaded.state.Platform(platform);
  stage->platform = platform;
  return true;
}

absl::Status Compiler::ResolveImage(StageState* stage, const std::string& written, const oci::Reference& reference, oci::Platform* platform,
                                    bool* is_scratch) {
  llb::ResolveOptions options;
  options.platform = *platform;
  options.resolve_mode = std::string(ResolveModeName(config_.resolve_mode));
  const std::string shown = config_.multi_platform ? absl::StrCat(oci::FormatPlatform(*platform, /*with_version=*/true), " ") : "";
  options.log_name = absl::StrCat("[", shown, "internal] load metadata for ", reference.str());
  const absl::StatusOr<llb::ResolvedImage> resolved = request_.images->Resolve(reference.str(), options);
  if (!resolved.ok()) {
    std::vector<std::string> known = StageNames();
    for (std::string& name : CommonImages()) known.push_back(std::move(name));
    return WithSuggestion(Annotate(resolved.status(), written), written, known);
  }
  oci::Reference pinned = reference;
  if (!resolved->ref.empty() && resolved->ref != reference.str()) {
    absl::StatusOr<oci::Reference> changed = oci::Reference::ParseNormalized(resolved->ref);
    if (!changed.ok()) return Annotate(changed.status(), absl::StrCat("failed to parse ref ", GoQuote(resolved->ref)));
    pinned = *std::move(changed);
  }
  absl::StatusOr<oci::ImageConfig> image = oci::ParseImageConfig(resolved->config);
  if (!image.ok()) return Annotate(image.status(), "failed to parse image config");
  image->unknown_members.clear();  // what a builder of old noted about its own work does not describe this image
  stage->base_image = *image;
  stage->image = *std::move(image);
  stage->image.created.reset();
  const oci::Platform& actual = stage->image.platform;
  if (!stage->platform.has_value() && implicit_target_ && (platform->os != actual.os || platform->architecture != actual.architecture) &&
      build_platform_.os == actual.os && build_platform_.architecture == actual.architecture) {
    *platform = build_platform_;
  }
  if (!resolved->digest.empty()) pinned.digest = resolved->digest;
  stage->stage.base = pinned.str();
  *is_scratch = !HasLayers(stage->image);
  return absl::OkStatus();
}

}  // namespace cachalot::dockerfile
