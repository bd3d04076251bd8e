#include "op/image_resolver.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::op {
namespace {

constexpr absl::string_view kSchema1 = "application/vnd.docker.distribution.manifest.v1";
constexpr std::int64_t kMaxDocumentBytes = 8 << 20;

// The kind of a document that is known by digest alone.
std::string DetectMediaType(absl::string_view json) {
  absl::StatusOr<oci::Index> index = oci::ParseIndex(json);
  if (index.ok() && !index->manifests.empty()) return index->media_type.empty() ? std::string(oci::kMediaTypeIndex) : index->media_type;
  absl::StatusOr<oci::Manifest> manifest = oci::ParseManifest(json);
  if (!manifest.ok() || manifest->config.digest.empty()) return "";
  return manifest->media_type.empty() ? std::string(oci::kMediaTypeManifest) : manifest->media_type;
}

}  // namespace

absl::StatusOr<oci::Descriptor> ChooseManifest(const oci::Index& index, const oci::Digest& digest, const oci::Platform& platform) {
  const oci::Descriptor* best = nullptr;
  int best_rank = -1;
  for (const oci::Descriptor& candidate : index.manifests) {
    if (!oci::IsManifest(candidate.media_type) && !candidate.media_type.empty()) continue;
    // Without a platform it may be for any; those that say so come first.
    const int rank = candidate.platform.has_value() ? oci::PlatformRank(platform, oci::Normalize(*candidate.platform)) : 1 << 20;
    if (rank >= 0 && (best == nullptr || rank < best_rank)) best = &candidate, best_rank = rank;
  }
  if (best == nullptr) return absl::NotFoundError(absl::StrCat("no match for platform in manifest ", digest.str(), ": not found"));
  return *best;
}

absl::StatusOr<ResolvedManifestPtr> ImageResolver::Resolve(const std::string& ref, const oci::Platform& platform, const CancelToken& cancel) {
  std::shared_ptr<Entry> entry;
  {
    std::lock_guard lock(mutex_);
    std::shared_ptr<Entry>& slot = entries_[absl::StrCat(ref, " ", oci::FormatPlatform(platform, true))];
    if (slot == nullptr) slot = std::make_shared<Entry>();
    entry = slot;
  }
  std::lock_guard lock(entry->mutex);
  if (entry->resolved == nullptr) {
    ASSIGN_OR_RETURN(entry->resolved, ResolveNow(ref, platform, cancel));
  }
  return entry->resolved;
}

absl::StatusOr<oci::Descriptor> ImageResolver::FindTarget(const oci::Reference& ref, const registry::Options& options) {
  if (!ref.digest.empty() && blobs_->Has(ref.digest)) {
    absl::StatusOr<std::string> document = blobs_->Read(ref.digest);
    if (document.ok()) {
      oci::Descriptor known;
      known.digest = ref.digest;
      known.size = static_cast<std::int64_t>(document->size());
      known.media_type = DetectMediaType(*document);
      if (!known.media_type.empty()) return known;
    }
  }
  return registry_->Resolve(ref, options);
}

absl::StatusOr<std::string> ImageResolver::ReadDocument(const oci::Reference& ref, const oci::Descriptor& descriptor,
                                                        const registry::Options& options, ResolvedManifest& keep) {
  if (descriptor.size > kMaxDocumentBytes) return absl::InvalidArgumentError(absl::StrCat("document ", descriptor.digest.str(), " is too large"));
  keep.pins.push_back(blobs_->Pin(descriptor.digest));
  if (blobs_->Has(descriptor.digest)) {
    absl::StatusOr<std::string> bytes = blobs_->Read(descriptor.digest);
    if (bytes.ok()) return bytes;
  }
  if (!oci::IsIndex(descriptor.media_type) && !oci::IsManifest(descriptor.media_type)) {
    RETURN_IF_ERROR(registry_->FetchBlob(ref, descriptor, *blobs_, options));
    return blobs_->Read(descriptor.digest);
  }
  ASSIGN_OR_RETURN(std::string bytes, registry_->FetchManifest(ref, descriptor, options));
  RETURN_IF_ERROR(blobs_->Put(bytes).status());
  return bytes;
}

absl::StatusOr<ResolvedManifestPtr> ImageResolver::ResolveNow(const std::string& text, const oci::Platform& platform, const CancelToken& cancel) {
  auto image = std::make_shared<ResolvedManifest>();
  ASSIGN_OR_RETURN(image->ref, oci::Reference::ParseNormalized(text));
  registry::Options options;
  options.credentials = credentials_;
  options.cancel = cancel;
  ASSIGN_OR_RETURN(oci::Descriptor target, FindTarget(image->ref, options));
  image->digest = target.digest;
  if (absl::StartsWith(target.media_type, kSchema1)) {
    return absl::FailedPreconditionError(
        "support Docker Image manifest version 2, schema 1 has been removed. More information at https://docs.docker.com/go/deprecated-image-specs/");
  }
  ASSIGN_OR_RETURN(std::string document, ReadDocument(image->ref, target, options, *image));
  // An index may point at another one.
  for (int depth = 0; oci::IsIndex(target.media_type); ++depth) {
    if (depth == 4) return absl::InvalidArgumentError(absl::StrCat(text, ": too many nested indexes"));
    ASSIGN_OR_RETURN(const oci::Index index, oci::ParseIndex(document));
    ASSIGN_OR_RETURN(target, ChooseManifest(index, target.digest, platform));
    if (target.media_type.empty()) target.media_type = std::string(oci::kMediaTypeManifest);
    ASSIGN_OR_RETURN(document, ReadDocument(image->ref, target, options, *image));
  }
  image->manifest_digest = target.digest;
  ASSIGN_OR_RETURN(image->manifest, oci::ParseManifest(document));
  ASSIGN_OR_RETURN(image->config_json, ReadDocument(image->ref, image->manifest.config, options, *image));
  ASSIGN_OR_RETURN(image->config, oci::ParseImageConfig(image->config_json));
  return image;
}

}  // namespace cachalot::op
