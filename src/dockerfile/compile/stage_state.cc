#include "dockerfile/compile/stage_state.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace cachalot::dockerfile {
namespace {

constexpr absl::string_view kHistoryComment = "buildkit.dockerfile.v0";

// The platform that the TARGET* variables describe.
std::optional<oci::Platform> TargetOf(const Environment& environment) {
  oci::Platform platform;
  bool any = false;
  for (const std::string& name : environment.Names()) {
    if (!absl::StartsWith(name, "TARGET")) continue;
    const std::string value = environment.Get(name).value_or("");
    if (name == "TARGETPLATFORM") {
      const absl::StatusOr<oci::Platform> parsed = oci::ParsePlatform(value);
      if (parsed.ok()) return *parsed;
    } else if (name == "TARGETOS" || name == "TARGETARCH" || name == "TARGETVARIANT") {
      (name == "TARGETOS" ? platform.os : name == "TARGETARCH" ? platform.architecture : platform.variant) = value;
      any = true;
    }
  }
  return any ? std::optional<oci::Platform>(platform) : std::nullopt;
}

// "->arm64" when a stage that runs on `base` builds for another platform.
std::string CrossTarget(const oci::Platform& base, const Environment* environment) {
  std::optional<oci::Platform> target = environment != nullptr ? TargetOf(*environment) : std::nullopt;
  if (!target.has_value()) return "";
  if (target->os.empty()) target->os = base.os;
  if (target->architecture.empty()) target->architecture = base.architecture;
  const oci::Platform normal = oci::Normalize(*target);
  if (normal.os != base.os) return absl::StrCat("->", oci::FormatPlatform(normal, /*with_version=*/true));
  if (normal.architecture == base.architecture) return "";
  return absl::StrCat("->", normal.architecture, normal.variant.empty() ? "" : "/", normal.variant);
}

}  // namespace

void StageState::InheritFromBase() {
  if (base == nullptr) return;
  state = base->state;
  platform = base->platform;
  image = base->image;
  image.config.on_build.clear();
  base_image = base->base_image;
  paths = base->paths;  // reading this stage is reading its base
  workdir_set = base->workdir_set;
  build_args.insert(build_args.end(), base->build_args.begin(), base->build_args.end());
}

void StageState::Commit(const std::string& created_by, bool layer) {
  oci::HistoryEntry entry;
  entry.created = epoch;
  entry.created_by = created_by;
  entry.comment = std::string(kHistoryComment);
  entry.empty_layer = !layer;
  image.history.push_back(std::move(entry));
}

std::string StageState::StepName(const std::string& text, const std::optional<oci::Platform>& shown_platform, const Environment* environment) {
  if (steps_total == 0) return text;
  std::string out = "[";
  if (show_platform && shown_platform.has_value()) {
    absl::StrAppend(&out, oci::FormatPlatform(*shown_platform, /*with_version=*/true), CrossTarget(*shown_platform, environment), " ");
  }
  if (!name.empty()) absl::StrAppend(&out, name, " ");
  const int width = static_cast<int>(1 + std::log10(static_cast<double>(steps_total)));
  absl::StrAppendFormat(&out, "%*d/%d] ", width, ++steps_done, steps_total);
  if (in_on_build) absl::StrAppend(&out, "ONBUILD ");
  return out + text;
}

std::vector<std::string> StateEnvironment::Names() const {
  std::vector<std::string> names;
  for (const auto& entry : state_.settings().env) names.push_back(entry.first);
  return names;
}

std::set<StageState*> ReachableFrom(StageState* stage) {
  std::set<StageState*> reachable;
  std::vector<StageState*> pending = {stage};
  while (!pending.empty()) {
    StageState* next = pending.back();
    pending.pop_back();
    if (!reachable.insert(next).second) continue;
    if (next->base != nullptr) pending.push_back(next->base);
    for (const auto& dep : next->deps) pending.push_back(dep.first);
  }
  return reachable;
}

absl::string_view DefaultPath(const oci::Platform& platform) { return platform.os == "windows" ? "" : kDefaultPath; }

oci::ImageConfig EmptyImage(const oci::Platform& platform) {
  oci::ImageConfig image;
  image.platform = platform;
  image.config.working_dir = "/";
  if (const absl::string_view path = DefaultPath(platform); !path.empty()) image.config.env = {absl::StrCat("PATH=", path)};
  return image;
}

void SetEnv(absl::string_view name, absl::string_view value, std::vector<std::string>* env) {
  std::string entry = absl::StrCat(name, "=", value);
  for (std::string& known : *env) {
    if (absl::string_view(known).substr(0, known.find('=')) != name) continue;
    known = std::move(entry);
    return;
  }
  env->push_back(std::move(entry));
}

}  // namespace cachalot::dockerfile
