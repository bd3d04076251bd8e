#include "op/image_resolver.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::op {
namespace {

constexpr absl::string_view kSchema1 = "application/vnd.docker.distribution.manifest.v1";
constexpr std::int64_t kMaxDocumentBytes = 8 << 20;

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

template <typename Value>
std::shared_ptr<ImageResolver::Entry<Value>> ImageResolver::EntryOf(Entries<Value>& entries, const std::string& key) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<Entry<Value>>& slot = entries[key];
  if (slot == nullptr) slot = std::make_shared<Entry<Value>>();
  return slot;
}

absl::StatusOr<ResolvedManifestPtr> ImageResolver::Resolve(const std::string& ref, const oci::Platform& platform, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const oci::Reference reference, oci::Reference::ParseNormalized(ref));
  return Resolve(reference, registry_, platform, cancel);
}

absl::StatusOr<ResolvedManifestPtr> ImageResolver::Resolve(const oci::Reference& ref, ImageOrigin& origin, const oci::Platform& platform,
                                                           const CancelToken& cancel) {
  const auto entry = EntryOf(images_, absl::StrCat(origin.id(), " ", ref.str(), " ", oci::FormatPlatform(platform, true)));
  std::lock_guard lock(entry->mutex);
  if (!entry->value.has_value()) {
    ASSIGN_OR_RETURN(entry->value, ResolveNow(ref, origin, platform, cancel));
  }
  return *entry->value;
}

absl::StatusOr<bool> ImageResolver::IsHere(const oci::Reference& ref, const ImageOrigin& origin) {
  if (ref.digest.empty() || !blobs_->Has(ref.digest)) return false;
  // A digest alone gives no right to read what another repository has.
  if (origin.lasting()) return blobs_->HasSource(ref.digest, ref.name());
  return true;
}

absl::StatusOr<oci::Descriptor> ImageResolver::FindTarget(const oci::Reference& ref, ImageOrigin& origin, const CancelToken& cancel) {
  const auto entry = EntryOf(targets_, absl::StrCat(origin.id(), " ", ref.str()));
  std::lock_guard lock(entry->mutex);
  if (entry->value.has_value()) return *entry->value;
  ASSIGN_OR_RETURN(const bool here, IsHere(ref, origin));
  if (here) {
    const absl::StatusOr<std::string> document = blobs_->Read(ref.digest);
    oci::Descriptor known;
    known.digest = ref.digest;
    known.size = document.ok() ? static_cast<std::int64_t>(document->size()) : 0;
    known.media_type = document.ok() ? DetectMediaType(*document) : "";
    if (!known.media_type.empty()) return known;
  }
  ASSIGN_OR_RETURN(entry->value, origin.Resolve(ref, cancel));
  return *entry->value;
}

absl::StatusOr<ImageResolver::Document> ImageResolver::ReadDocument(const oci::Reference& ref, const oci::Descriptor& descriptor, ImageOrigin& origin,
                                                                    const CancelToken& cancel) {
  if (descriptor.size > kMaxDocumentBytes) return absl::InvalidArgumentError(absl::StrCat("document ", descriptor.digest.str(), " is too large"));
  Document document;
  document.pin = blobs_->Pin(descriptor.digest);
  RETURN_IF_ERROR(origin.Fetch(ref, descriptor, *blobs_, nullptr, cancel));
  ASSIGN_OR_RETURN(const bool known, blobs_->HasSource(descriptor.digest, ref.name()));
  if (!known && origin.lasting()) RETURN_IF_ERROR(blobs_->AddSource(descriptor.digest, ref.name()));
  ASSIGN_OR_RETURN(document.bytes, blobs_->Read(descriptor.digest));
  return document;
}

absl::StatusOr<ResolvedManifestPtr> ImageResolver::ResolveNow(const oci::Reference& ref, ImageOrigin& origin, const oci::Platform& platform,
                                                              const CancelToken& cancel) {
  auto image = std::make_shared<ResolvedManifest>();
  image->ref = ref;
  const auto read = [&](const oci::Descriptor& descriptor) -> absl::StatusOr<std::string> {
    ASSIGN_OR_RETURN(Document document, ReadDocument(ref, descriptor, origin, cancel));
    image->pins.push_back(std::move(document.pin));
    return std::move(document.bytes);
  };
  ASSIGN_OR_RETURN(oci::Descriptor target, FindTarget(ref, origin, cancel));
  image->digest = target.digest;
  if (absl::StartsWith(target.media_type, kSchema1)) {
    return absl::FailedPreconditionError(
        "support Docker Image manifest version 2, schema 1 has been removed. More information at https://docs.docker.com/go/deprecated-image-specs/");
  }
  ASSIGN_OR_RETURN(std::string document, read(target));
  // An index may point at another one.
  for (int depth = 0; oci::IsIndex(target.media_type); ++depth) {
    if (depth == 4) return absl::InvalidArgumentError(absl::StrCat(ref.str(), ": too many nested indexes"));
    ASSIGN_OR_RETURN(const oci::Index index, oci::ParseIndex(document));
    ASSIGN_OR_RETURN(target, ChooseManifest(index, target.digest, platform));
    if (target.media_type.empty()) target.media_type = std::string(oci::kMediaTypeManifest);
    ASSIGN_OR_RETURN(document, read(target));
  }
  image->manifest_digest = target.digest;
  ASSIGN_OR_RETURN(image->manifest, oci::ParseManifest(document));
  ASSIGN_OR_RETURN(image->config_json, read(image->manifest.config));
  ASSIGN_OR_RETURN(image->config, oci::ParseImageConfig(image->config_json));
  return image;
}

}  // namespace cachalot::op
