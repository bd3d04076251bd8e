#include "export/attestation_manifest.h"

#include <utility>

#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "export/attestation.h"
#include "export/sbom_layers.h"
#include "oci/package_url.h"

namespace cachalot::exporting {
namespace {

constexpr char kArtifactType[] = "application/vnd.docker.attestation.manifest.v1+json";
constexpr char kEmptyJson[] = "{}";
constexpr char kUnknown[] = "unknown";  // os and architecture of what no machine runs

absl::StatusOr<std::vector<NamedDigest>> NamesOf(const std::string& names, const oci::Descriptor& target) {
  std::vector<NamedDigest> out;
  for (const absl::string_view name : absl::StrSplit(names, ',', absl::SkipEmpty())) {
    ASSIGN_OR_RETURN(std::string url, oci::PackageUrl("docker", name, target.platform));
    out.push_back({std::move(url), target.digest});
  }
  return out;
}

oci::Descriptor AddBlob(const std::string& media_type, std::string bytes, std::vector<std::string>& blobs) {
  oci::Descriptor descriptor;
  descriptor.media_type = media_type;
  descriptor.digest = oci::Digest::Of(bytes);
  descriptor.size = static_cast<std::int64_t>(bytes.size());
  blobs.push_back(std::move(bytes));
  return descriptor;
}

// A configuration for readers that expect an image: its layers are the statements.
std::string ConfigOf(const std::vector<oci::Descriptor>& layers) {
  oci::ImageConfig config;
  config.platform.os = config.platform.architecture = kUnknown;
  for (const oci::Descriptor& layer : layers) config.diff_ids.push_back(layer.digest);
  return Serialize(config);
}

void MakeArtifact(const oci::Descriptor& target, oci::Manifest& manifest, std::vector<std::string>& blobs) {
  manifest.config = AddBlob(std::string(oci::kMediaTypeEmptyJson), kEmptyJson, blobs);
  manifest.config.data = kEmptyJson;
  manifest.artifact_type = kArtifactType;
  oci::Descriptor subject;
  subject.media_type = target.media_type;
  subject.digest = target.digest;
  subject.size = target.size;
  manifest.subject = std::move(subject);
}

}  // namespace

absl::StatusOr<AttestationManifest> MakeAttestationManifest(const ExportOptions& options, const PlatformResult& result, const WrittenManifest& target,
                                                            const std::string& names, const Context& context) {
  AttestationManifest out;
  oci::Manifest& manifest = out.manifest.manifest;
  ASSIGN_OR_RETURN(const std::vector<NamedDigest> self, NamesOf(names, target.descriptor));
  ASSIGN_OR_RETURN(const std::vector<Attestation> attestations, Unbundle(result.attestations, context));
  for (const Attestation& attestation : attestations) {
    ASSIGN_OR_RETURN(const Attestation complete, NameLayersOfFiles(attestation, target.layers, context));
    ASSIGN_OR_RETURN(std::string statement, MakeStatement(complete, self, /*indent=*/0, context));
    oci::Descriptor layer = AddBlob(kStatementMediaType, std::move(statement), out.blobs);
    layer.annotations["in-toto.io/predicate-type"] = attestation.predicate_type;
    manifest.layers.push_back(std::move(layer));
  }
  manifest.media_type = target.manifest.media_type;
  if (options.oci_artifact) {
    MakeArtifact(target.descriptor, manifest, out.blobs);
  } else {
    manifest.config = AddBlob(target.manifest.config.media_type, ConfigOf(manifest.layers), out.blobs);
  }
  oci::Descriptor& descriptor = out.manifest.descriptor;
  descriptor = AddBlob(manifest.media_type, Serialize(manifest), out.blobs);
  descriptor.annotations["vnd.docker.reference.type"] = "attestation-manifest";
  descriptor.annotations["vnd.docker.reference.digest"] = target.descriptor.digest.str();
  descriptor.platform.emplace();
  descriptor.platform->os = descriptor.platform->architecture = kUnknown;
  return out;
}

}  // namespace cachalot::exporting
