#include "op/attestation_chain.h"

#include "absl/algorithm/container.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/value_of.h"

namespace cachalot::op {
namespace {

constexpr char kReferenceType[] = "vnd.docker.reference.type";
constexpr char kReferenceDigest[] = "vnd.docker.reference.digest";
constexpr char kPredicateType[] = "in-toto.io/predicate-type";

}  // namespace

absl::StatusOr<std::optional<llb::AttestationChain>> FindAttestationChain(ImageResolver& images, const OriginAndReference& image,
                                                                          const oci::Platform& platform,
                                                                          const std::vector<std::string>& predicate_types,
                                                                          const CancelToken& cancel) {
  llb::AttestationChain chain;
  const auto add = [&](const oci::Descriptor& descriptor) -> absl::StatusOr<std::string> {
    ASSIGN_OR_RETURN(const ImageResolver::Document document, images.ReadDocument(image.ref, descriptor, *image.origin, cancel));
    chain.blobs[descriptor.digest] = {descriptor, document.bytes};
    return document.bytes;
  };
  ASSIGN_OR_RETURN(const oci::Descriptor root, images.FindTarget(image.ref, *image.origin, cancel));
  if (root.media_type != oci::kMediaTypeIndex) return std::nullopt;
  chain.root = root.digest;
  ASSIGN_OR_RETURN(const std::string text, add(root));
  ASSIGN_OR_RETURN(const oci::Index index, oci::ParseIndex(text));
  ASSIGN_OR_RETURN(const oci::Descriptor manifest, ChooseManifest(index, root.digest, platform));
  chain.image_manifest = manifest.digest;
  const auto attestation = absl::c_find_if(index.manifests, [&](const oci::Descriptor& candidate) {
    return ValueOf(candidate.annotations, kReferenceType) == "attestation-manifest" &&
           ValueOf(candidate.annotations, kReferenceDigest) == manifest.digest.str();
  });
  if (attestation == index.manifests.end()) return chain;
  chain.attestation_manifest = attestation->digest;
  ASSIGN_OR_RETURN(const std::string statements, add(*attestation));
  ASSIGN_OR_RETURN(const oci::Manifest parsed, oci::ParseManifest(statements));
  for (const oci::Descriptor& layer : parsed.layers) {
    if (absl::c_linear_search(predicate_types, ValueOf(layer.annotations, kPredicateType))) RETURN_IF_ERROR(add(layer).status());
  }
  return chain;
}

}  // namespace cachalot::op
