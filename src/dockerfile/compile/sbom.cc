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
constexpr char kSpdxPredicate[] = "https://spdx.dev/Document";
constexpr absl::string_view kCore = "sbom";
constexpr int kBundle = 1;  // the attestation's ref is a directory of statements

}  // namespace

absl::StatusOr<SbomScanner> SbomScanner::Create(const llb::ResolvedImage& image, const oci::Platform& platform,
                                                std::map<std::string, std::string> parameters) {
  ASSIGN_OR_RETURN(oci::ImageConfig config, oci::ParseImageConfig(image.config));
  if (config.config.entrypoint.empty() && config.config.cmd.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("scanner ", image.ref, " does not have cmd"));
  }
  return SbomScanner(image.ref, std::move(config), platform, std::move(parameters));
}

absl::StatusOr<llb::Attestation> SbomScanner::Scan(llb::FrontendBridge& bridge, const Target& target) const {
  llb::RunOptions options;
  std::vector<std::string> args = config_.config.entrypoint;
  args.insert(args.end(), config_.config.cmd.begin(), config_.config.cmd.end());
  options.Args(std::move(args));
  options.Dir(config_.config.working_dir.empty() ? "/" : config_.config.working_dir);
  for (const std::string& entry : config_.config.env) {
    const std::size_t equals = entry.find('=');
    options.AddEnv(entry.substr(0, equals), equals == std::string::npos ? "" : entry.substr(equals + 1));
  }
  const std::string core = absl::StrCat(kSources, "/core/", kCore);
  options.AddEnv("BUILDKIT_SCAN_DESTINATION", kResults).AddEnv("BUILDKIT_SCAN_SOURCE", core);
  if (!target.extras.empty()) options.AddEnv("BUILDKIT_SCAN_SOURCE_EXTRAS", absl::StrCat(kSources, "/extras"));
  for (const auto& [name, value] : parameters_) options.AddEnv(absl::StrCat("BUILDKIT_SCAN_", name), value);
  options.constraints.Named(absl::StrCat("[", target.id, "] generating sbom using ", image_)).IgnoreCache(target.ignore_cache);

  llb::MountOptions temporary;
  temporary.tmpfs_size = 0;
  options.AddMount("/tmp", llb::Scratch(), temporary);
  llb::MountOptions readonly;
  readonly.readonly = true;
  options.AddMount(core, target.tree, readonly);
  for (const auto& [name, state] : target.extras) options.AddMount(absl::StrCat(kSources, "/extras/", kCore, "-", name), state, readonly);
  options.AddMount(kResults, llb::Scratch());

  llb::ImageOptions image;
  image.constraints.For(platform_);
  ASSIGN_OR_RETURN(const llb::State findings, llb::Image(image_, image).Run(options).GetMount(kResults));
  llb::Attestation attestation;
  attestation.kind = kBundle;
  attestation.metadata = {{"reason", "sbom"}, {"sbom-core", std::string(kCore)}};
  attestation.predicate_type = kSpdxPredicate;
  llb::SolveRequest request;
  ASSIGN_OR_RETURN(request.definition, findings.Marshal());
  ASSIGN_OR_RETURN(llb::FrontendResult result, bridge.Solve(request));
  attestation.ref = std::move(result.ref);
  return attestation;
}

}  // namespace cachalot::dockerfile
