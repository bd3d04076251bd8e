#include "dockerfile/compile/sbom.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status_macros.h"
#include "cachalot/llb/run.h"
#include "cachalot/llb/source.h"

namespace cachalot::dockerfile {
namespace {

constexpr absl::string_view kSources = "/run/src";
constexpr char kResults[] = "/run/out/";
constexpr absl::string_view kCore = "sbom";
constexpr int kBundle = 1;  // the attestation's ref is a directory of statements

}  // namespace

absl::StatusOr<SbomScanner> SbomScanner::Create(const BuildContext& context, ImageResolver& images, const Config& config) {
  const oci::Platform platform = context.bridge().default_platform();
  llb::ResolveOptions options;
  options.platform = platform;
  options.resolve_mode = std::string(ResolveModeName(config.resolve_mode));
  ASSIGN_OR_RETURN(const llb::ResolvedImage resolved, images.Resolve(config.sbom->generator, options));
  ASSIGN_OR_RETURN(oci::ImageConfig image, oci::ParseImageConfig(resolved.config));
  if (image.config.entrypoint.empty() && image.config.cmd.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("scanner ", resolved.ref, " does not have cmd"));
  }
  return SbomScanner(resolved.ref, std::move(image), platform, config.sbom->parameters);
}

absl::StatusOr<llb::Attestation> SbomScanner::Scan(const BuildContext& context, const std::string& id, const Compiled& compiled) const {
  llb::RunOptions options;
  std::vector<std::string> args = config_.config.entrypoint;
  args.insert(args.end(), config_.config.cmd.begin(), config_.config.cmd.end());
  options.Args(std::move(args));
  options.Dir(config_.config.working_dir.empty() ? "/" : config_.config.working_dir);
  for (const std::string& entry : config_.config.env) {
    const std::size_t equals = entry.find('=');
    options.AddEnv(entry.substr(0, equals), equals == std::string::npos ? "" : entry.substr(equals + 1));
  }
  std::map<std::string, llb::State> extras = compiled.scan_stages;
  if (compiled.scan_context) extras.emplace("context", compiled.context);
  const std::string core = absl::StrCat(kSources, "/core/", kCore);
  options.AddEnv("BUILDKIT_SCAN_DESTINATION", kResults).AddEnv("BUILDKIT_SCAN_SOURCE", core);
  if (!extras.empty()) options.AddEnv("BUILDKIT_SCAN_SOURCE_EXTRAS", absl::StrCat(kSources, "/extras"));
  for (const auto& [name, value] : parameters_) options.AddEnv(absl::StrCat("BUILDKIT_SCAN_", name), value);
  options.constraints.Named(absl::StrCat("[", id, "] generating sbom using ", image_)).IgnoreCache(compiled.ignore_cache);

  llb::MountOptions temporary;
  temporary.tmpfs_size = 0;
  options.AddMount("/tmp", llb::Scratch(), temporary);
  llb::MountOptions readonly;
  readonly.readonly = true;
  options.AddMount(core, compiled.state, readonly);
  for (const auto& [name, state] : extras) options.AddMount(absl::StrCat(kSources, "/extras/", kCore, "-", name), state, readonly);
  options.AddMount(kResults, llb::Scratch());

  llb::ImageOptions image;
  image.constraints.For(platform_);
  ASSIGN_OR_RETURN(const llb::State findings, llb::Image(image_, image).Run(options).GetMount(kResults));
  llb::Attestation attestation;
  attestation.kind = kBundle;
  attestation.metadata = {{"reason", "sbom"}, {"sbom-core", std::string(kCore)}};
  attestation.predicate_type = "https://spdx.dev/Document";
  ASSIGN_OR_RETURN(attestation.ref, context.Solve(findings));
  return attestation;
}

}  // namespace cachalot::dockerfile
