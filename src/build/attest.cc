#include "build/attest.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "build/export_source.h"
#include "dockerfile/compile/sbom.h"
#include "dockerfile/instructions/values.h"
#include "oci/platform.h"

namespace cachalot::build {
namespace {

// "name=value,flag" in the form of a CSV line.
absl::StatusOr<std::map<std::string, std::string>> ParseAttributes(const std::string& kind, const std::string& text) {
  std::map<std::string, std::string> out;
  if (text.empty()) return out;
  const absl::StatusOr<std::vector<std::string>> fields = dockerfile::ParseCsvLine(text);
  if (!fields.ok()) return Annotate(fields.status(), absl::StrCat("failed to parse ", kind));
  for (const std::string& field : *fields) {
    const std::size_t equals = std::min(field.find('='), field.size());
    out[field.substr(0, equals)] = equals == field.size() ? "" : field.substr(equals + 1);
  }
  return out;
}

bool HasSbom(const llb::FrontendResult& result) {
  for (const auto& [platform, attestations] : result.attestations) {
    for (const llb::Attestation& attestation : attestations) {
      if (attestation.predicate_type == exporting::kSpdxPredicate) return true;
    }
  }
  return false;
}

llb::RefPtr RefOf(const llb::FrontendResult& result, const exporting::Source& source, const exporting::PlatformResult& platform) {
  if (!source.multi_platform) return result.ref;
  return ValueOf(result.refs, platform.id);
}

std::set<llb::RefPtr> RefsOf(const llb::FrontendResult& result) {
  std::set<llb::RefPtr> refs = {result.ref};
  for (const auto& [platform, ref] : result.refs) refs.insert(ref);
  for (const auto& [platform, attestations] : result.attestations) {
    for (const llb::Attestation& attestation : attestations) refs.insert(attestation.ref);
  }
  return refs;
}

// Images that were asked for once per platform of the result belong to their platform alone.
std::vector<ConsultedImage> ImagesFor(const exporting::PlatformResult& current, const exporting::Source& source, std::vector<ConsultedImage> images) {
  if (!source.multi_platform) return images;
  const auto serves = [&](const std::string& ref, const oci::Platform& platform) {
    return std::any_of(images.begin(), images.end(), [&](const ConsultedImage& image) {
      return image.ref == ref && image.platform.has_value() && oci::PlatformRank(platform, *image.platform) == 0;
    });
  };
  std::vector<ConsultedImage> out;
  for (const ConsultedImage& image : images) {
    const bool everywhere = std::all_of(source.platforms.begin(), source.platforms.end(), [&](const exporting::PlatformResult& platform) {
      return platform.platform.has_value() && serves(image.ref, *platform.platform);
    });
    const bool ours = !everywhere || !image.platform.has_value() || !current.platform.has_value() ||
                      (image.platform->os == current.platform->os && image.platform->architecture == current.platform->architecture);
    if (ours) out.push_back(image);
  }
  return out;
}

// Everything that the request behind a tree has used, other trees of the result apart.
Capture CaptureTree(const llb::RefPtr& ref, const std::set<llb::RefPtr>& result_refs, const RequestTrace& producer, BuildCore& core) {
  const PinOf pin_of = [&core](const llb::Vertex& vertex) { return core.PinOf(vertex); };
  op::ProxyUse* const proxy = core.environment()->proxy.get();
  Capture capture = CaptureGraph(ref->edge(), pin_of, proxy);
  std::set<llb::RefPtr> seen = result_refs;
  for (const llb::RefPtr& other : producer.AllRefs()) {
    if (seen.insert(other).second && core.IsSolved(other)) capture.Merge(CaptureGraph(other->edge(), pin_of, proxy));
  }
  return capture;
}

}  // namespace

absl::StatusOr<AttestRequest> ParseAttestRequest(const std::map<std::string, std::string>& options) {
  std::map<std::string, std::string> kinds;
  for (const auto& [name, value] : options) {
    absl::string_view kind = name;
    if (absl::ConsumePrefix(&kind, "attest:") || absl::ConsumePrefix(&kind, "build-arg:BUILDKIT_ATTEST_")) kinds[absl::AsciiStrToLower(kind)] = value;
  }
  AttestRequest request;
  for (const auto& [kind, value] : kinds) {
    ASSIGN_OR_RETURN(const auto attributes, ParseAttributes(kind, value));
    if (kind == "provenance") {
      ASSIGN_OR_RETURN(request.provenance, ParseProvenanceOptions(attributes));
    } else if (kind == "sbom") {
      const auto generator = attributes.find("generator");
      if (generator != attributes.end() && generator->second.empty()) return absl::InvalidArgumentError("sbom generator cannot be empty");
      ASSIGN_OR_RETURN(request.sbom, dockerfile::ParseSbom({{"attest:sbom", value}}));
    } else {
      return absl::InvalidArgumentError(absl::StrCat("unknown attestation type \"", kind, "\""));
    }
  }
  return request;
}

absl::Status AddSbom(const dockerfile::SbomRequest& request, const std::map<std::string, std::string>& options, llb::FrontendBridge& bridge,
                     llb::FrontendResult& result) {
  if (HasSbom(result)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const exporting::Source source, DescribeResult(result, bridge.default_platform()));
  llb::ResolveOptions resolve;
  resolve.platform = bridge.default_platform();
  if (const auto mode = options.find("image-resolve-mode"); mode != options.end()) resolve.resolve_mode = mode->second;
  ASSIGN_OR_RETURN(const llb::ResolvedImage image, bridge.ResolveImage(request.generator, resolve));
  ASSIGN_OR_RETURN(const dockerfile::SbomScanner scanner, dockerfile::SbomScanner::Create(image, *resolve.platform, request.parameters));
  const auto no_cache = options.find("no-cache");
  for (const exporting::PlatformResult& platform : source.platforms) {
    const llb::RefPtr ref = RefOf(result, source, platform);
    if (ref == nullptr) continue;
    const std::string id = platform.id.empty() ? oci::FormatPlatform(*platform.platform, /*with_version=*/true) : platform.id;
    const dockerfile::SbomScanner::Target target{id, llb::State(ref->edge()), {}, no_cache != options.end() && no_cache->second.empty()};
    ASSIGN_OR_RETURN(llb::Attestation attestation, scanner.Scan(bridge, target));
    result.attestations[id].push_back(std::move(attestation));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::size_t, TreeProvenance>> TraceTrees(BuildCore& core, const RequestTrace& trace, const llb::FrontendResult& result,
                                                                 const exporting::Source& source) {
  std::map<std::size_t, TreeProvenance> trees;
  const std::set<llb::RefPtr> result_refs = RefsOf(result);
  for (std::size_t i = 0; i < source.platforms.size(); ++i) {
    const llb::RefPtr ref = RefOf(result, source, source.platforms[i]);
    if (ref == nullptr) continue;
    TreeProvenance& tree = trees[i];
    tree.producer = trace.FindProducer(ref);
    if (tree.producer == nullptr) return absl::InternalError(absl::StrCat("could not find request for ref of ", source.platforms[i].id));
    tree.edge = ref->edge();
    tree.capture = CaptureTree(ref, result_refs, *tree.producer, core);
    for (const ConsultedImage& image : ImagesFor(source.platforms[i], source, tree.producer->AllImages())) tree.capture.AddImage(image);
    tree.capture.Tidy();
  }
  return trees;
}

absl::StatusOr<std::string> DescribeTree(const ProvenanceOptions& options, const BuildFacts& facts, BuildCore& core, const TreeProvenance& tree,
                                         bool with_layers) {
  StepFacts steps;
  steps.layers = [&](const llb::Vertex& vertex, int output) { return with_layers ? core.LayersOf(vertex, output) : std::vector<oci::Descriptor>(); };
  if (options.capture_usage) steps.usages = *core.environment()->usages->Lock();
  return MakePredicate(options, facts, tree, core.environment()->parts.clock->Now(), steps);
}

absl::Status AddProvenance(const ProvenanceOptions& options, const BuildFacts& facts, const std::shared_ptr<BuildCore>& core,
                           const std::map<std::size_t, TreeProvenance>& trees, exporting::Source& source) {
  for (const auto& [index, tree] : trees) {
    if (options.complete_materials) RETURN_IF_ERROR(CheckMaterials(tree.capture));
    exporting::Attestation attestation;
    attestation.metadata = {{exporting::kAttestationReason, "provenance"},
                            {exporting::kAttestationInlineOnly, options.inline_only ? "true" : "false"}};
    attestation.predicate_type = PredicateType(options);
    attestation.path = options.filename;
    // Late, so that the layers are known and the end of the build is.
    attestation.content = [options, facts, core, tree = tree] { return DescribeTree(options, facts, *core, tree, /*with_layers=*/true); };
    source.platforms[index].attestations.push_back(std::move(attestation));
  }
  return absl::OkStatus();
}

}  // namespace cachalot::build
