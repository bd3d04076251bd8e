#include "op/image_origin.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/value_of.h"

namespace cachalot::op {
namespace {

constexpr std::int64_t kMaxDocumentBytes = 4 << 20;

// Another client may have what it takes to be let in.
absl::Status WithoutAccess(const absl::Status& status) {
  return absl::IsPermissionDenied(status) || absl::IsUnauthenticated(status) ? OfTheClient(status) : status;
}

}  // namespace

std::string DetectMediaType(absl::string_view json) {
  const absl::StatusOr<oci::Index> index = oci::ParseIndex(json);
  if (index.ok() && !index->manifests.empty()) return index->media_type.empty() ? std::string(oci::kMediaTypeIndex) : index->media_type;
  const absl::StatusOr<oci::Manifest> manifest = oci::ParseManifest(json);
  if (!manifest.ok() || manifest->config.digest.empty()) return "";
  return manifest->media_type.empty() ? std::string(oci::kMediaTypeManifest) : manifest->media_type;
}

absl::StatusOr<oci::Descriptor> RegistryOrigin::Resolve(const oci::Reference& ref, const CancelToken& cancel) {
  registry::Options options;
  options.credentials = credentials_;
  options.cancel = cancel;
  absl::StatusOr<oci::Descriptor> resolved = registry_->Resolve(ref, options);
  return resolved.ok() ? resolved : WithoutAccess(resolved.status());
}

absl::Status RegistryOrigin::Fetch(const oci::Reference& ref, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                                   const std::function<void(std::int64_t done)>& on_progress, const CancelToken& cancel) {
  if (blobs.Has(descriptor.digest)) return absl::OkStatus();
  registry::Options options;
  options.credentials = credentials_;
  options.cancel = cancel;
  if (oci::IsIndex(descriptor.media_type) || oci::IsManifest(descriptor.media_type)) {
    const absl::StatusOr<std::string> bytes = registry_->FetchManifest(ref, descriptor, options);
    return bytes.ok() ? blobs.Put(*bytes).status() : WithoutAccess(bytes.status());
  }
  if (on_progress) options.on_progress = [&](const oci::Descriptor&, std::int64_t done) { on_progress(done); };
  return WithoutAccess(registry_->FetchBlob(ref, descriptor, blobs, options));
}

std::string LayoutOrigin::id() const { return absl::StrCat("layout:", session_, ":", store_); }

absl::StatusOr<oci::Descriptor> LayoutOrigin::Resolve(const oci::Reference& ref, const CancelToken& cancel) {
  if (ref.digest.empty()) return absl::InvalidArgumentError(absl::StrCat("reference \"", ref.str(), "\" must have digest"));
  ASSIGN_OR_RETURN(const session::SessionPtr session, SessionFor(environment_, session_, cancel));
  oci::Descriptor descriptor;
  descriptor.digest = ref.digest;
  const absl::StatusOr<std::int64_t> size = session->BlobSize(store_, ref.digest, cancel);
  if (!size.ok()) return Annotate(size.status(), "unable to get info about digest");
  descriptor.size = *size;
  if (descriptor.size > kMaxDocumentBytes) return absl::InvalidArgumentError(absl::StrCat("root manifest ", ref.digest.str(), " is too large"));
  store::BlobStore& blobs = *environment_.parts.blobs;
  const std::shared_ptr<store::BlobPin> pin = blobs.Pin(ref.digest);
  RETURN_IF_ERROR(Annotate(Fetch(ref, descriptor, blobs, nullptr, cancel), "unable to get root manifest"));
  ASSIGN_OR_RETURN(const std::string document, blobs.Read(ref.digest));
  descriptor.media_type = DetectMediaType(document);
  if (!descriptor.media_type.empty()) return descriptor;
  return absl::InvalidArgumentError(absl::StrCat("reference \"", ref.str(), "\" contains neither an index nor a manifest"));
}

absl::Status LayoutOrigin::Fetch(const oci::Reference&, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                                 const std::function<void(std::int64_t done)>& on_progress, const CancelToken& cancel) {
  if (blobs.Has(descriptor.digest)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const session::SessionPtr session, SessionFor(environment_, session_, cancel));
  ASSIGN_OR_RETURN(const std::unique_ptr<store::BlobWriter> writer, blobs.NewWriter());
  const auto sink = [&](absl::string_view bytes) {
    absl::Status status = store::WriteWithin(descriptor.size, descriptor.digest, bytes, *writer);
    if (on_progress) on_progress(writer->written());
    return status;
  };
  RETURN_IF_ERROR(session->ReadBlob(store_, descriptor.digest, sink, cancel));
  return writer->Commit(descriptor.digest, descriptor.size).status();
}

absl::StatusOr<oci::Reference> ParseLayoutReference(absl::string_view text) {
  const std::size_t at = text.find('@');
  if (at == absl::string_view::npos) return absl::InvalidArgumentError(absl::StrCat("reference \"", text, "\" must have digest"));
  absl::StatusOr<oci::Reference> usual = oci::Reference::ParseNormalized(text);
  if (usual.ok()) return usual;
  oci::Reference ref;
  ref.repository = std::string(text.substr(0, at));
  ASSIGN_OR_RETURN(ref.digest, oci::Digest::Parse(text.substr(at + 1)));
  return ref;
}

absl::StatusOr<OriginAndReference> OriginOf(const llb::SourceOp& source, const Environment& environment) {
  const std::size_t colon = std::min(source.identifier.find("://"), source.identifier.size());
  const absl::string_view rest = absl::StripPrefix(absl::string_view(source.identifier).substr(colon), "://");
  OriginAndReference result;
  if (!absl::StartsWith(source.identifier, "oci-layout")) {
    ASSIGN_OR_RETURN(result.ref, oci::Reference::ParseNormalized(rest));
    const std::shared_ptr<registry::Credentials> credentials = environment.session == nullptr ? nullptr : environment.session->credentials();
    result.origin = std::make_shared<RegistryOrigin>(environment.parts.registry, credentials);
    return result;
  }
  ASSIGN_OR_RETURN(result.ref, ParseLayoutReference(rest));
  std::string store = ValueOf(source.attrs, "oci.store");
  // Without the attribute the layout is known by the reference's name.
  if (store.empty()) store = std::string(rest.substr(0, rest.find_first_of("@")));
  result.origin = std::make_shared<LayoutOrigin>(environment, ValueOf(source.attrs, "oci.session"), absl::StrCat("oci:", store));
  return result;
}

}  // namespace cachalot::op
