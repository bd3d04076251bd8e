#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "export/exporters.h"
#include "export/image_writer.h"
#include "oci/reference.h"

namespace cachalot::exporting {
namespace {

constexpr int kParallelPushes = 4;

struct PushedBlob {
  oci::Descriptor descriptor;
  const snapshot::Layer* layer = nullptr;  // null for configurations and statements, which are always here
};

// Configurations and layers, each once; without layers that registries may not distribute.
std::vector<PushedBlob> BlobsOf(const WrittenImage& image) {
  std::vector<PushedBlob> out;
  std::set<oci::Digest> seen;
  for (const WrittenManifest& manifest : image.manifests) {
    if (seen.insert(manifest.manifest.config.digest).second) out.push_back({manifest.manifest.config, nullptr});
    for (std::size_t i = 0; i < manifest.manifest.layers.size(); ++i) {
      const oci::Descriptor& layer = manifest.manifest.layers[i];
      if (oci::IsForeignLayer(layer.media_type) || !seen.insert(layer.digest).second) continue;
      out.push_back({layer, i < manifest.layers.size() ? &manifest.layers[i] : nullptr});
    }
  }
  return out;
}

absl::Status PushOneBlob(const oci::Reference& ref, const PushedBlob& blob, const registry::Options& options, const Context& context) {
  const std::vector<std::string> sources = blob.layer == nullptr ? std::vector<std::string>() : blob.layer->sources;
  const bool here = context.blobs->Has(blob.descriptor.digest);
  absl::Status status = context.registry->PushBlob(ref, blob.descriptor, *context.blobs, sources, options);
  if (!absl::IsNotFound(status) || here || blob.layer == nullptr) return status;
  // The registry neither has the layer nor could mount it: now its bytes are needed.
  RETURN_IF_ERROR(EnsureLocal(*blob.layer, context));
  return context.registry->PushBlob(ref, blob.descriptor, *context.blobs, sources, options);
}

absl::Status PushManifests(const oci::Reference& ref, const WrittenImage& image, bool by_digest, const registry::Options& options,
                           const Context& context) {
  const auto push = [&](const oci::Descriptor& descriptor, bool digest_only) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string bytes, context.blobs->Read(descriptor.digest));
    return context.registry->PushManifest(ref, descriptor, bytes, digest_only, options);
  };
  if (image.is_index) {
    for (const WrittenManifest& manifest : image.manifests) RETURN_IF_ERROR(push(manifest.descriptor, /*digest_only=*/true));
  }
  return push(image.root, by_digest);
}

// Whether the name has a tag or digest of its own.
bool IsTagged(const std::string& name) {
  const std::string last = name.substr(name.rfind('/') + 1);
  return absl::StrContains(last, ":") || absl::StrContains(last, "@");
}

absl::Status PushTo(const std::string& name, const WrittenImage& image, const ExportOptions& options, const Context& context, ExportVertex& vertex) {
  ASSIGN_OR_RETURN(oci::Reference ref, oci::Reference::ParseNormalized(name));
  if (options.push_by_digest && IsTagged(name)) {
    return absl::InvalidArgumentError(absl::StrCat("can't push tagged ref ", ref.str(), " by digest"));
  }
  std::string title = ref.name();
  const bool by_digest = options.push_by_digest || ref.tag.empty();
  if (!options.push_by_digest) title = absl::StrCat(ref.name(), ref.tag.empty() ? "" : ":", ref.tag, "@", image.root.digest.str());
  ref.digest = {};
  registry::Options request;
  if (context.session != nullptr) request.credentials = context.session->credentials();
  request.insecure = options.insecure;
  request.cancel = context.cancel;

  const std::vector<PushedBlob> blobs = BlobsOf(image);
  RETURN_IF_ERROR(vertex.Run("pushing layers", [&] {
    return ForEach(blobs.size(), kParallelPushes, [&](std::size_t i) { return PushOneBlob(ref, blobs[i], request, context); });
  }));
  return vertex.Run(absl::StrCat("pushing manifest for ", title), [&] { return PushManifests(ref, image, by_digest, request, context); });
}

// The names to export under, after what the digest adds to them.
std::string NamesFor(const ExportOptions& options, const Source& source, const oci::Digest& digest) {
  std::string names = ImageNames(options, source);
  if (!options.dangling_prefix.empty() && (!options.dangling_empty_only || names.empty())) {
    absl::StrAppend(&names, names.empty() ? "" : ",", options.dangling_prefix, "@", digest.str());
  }
  return names;
}

}  // namespace

absl::StatusOr<Response> ExportImage(ExportOptions options, const Source& source, const Context& context, ExportVertex& vertex) {
  ASSIGN_OR_RETURN(const WrittenImage image, WriteImage(options, source, /*keep_remote=*/true, context, vertex));
  Response response = ImageResponse(image);
  const std::string names = NamesFor(options, source, image.root.digest);
  if (names.empty()) return response;
  response["image.name"] = names;
  if (!options.push) return response;
  const std::vector<std::string> targets = absl::StrSplit(names, ',');
  for (const std::string& name : targets) {
    if (absl::Status status = PushTo(name, image, options, context, vertex); !status.ok()) {
      return Annotate(status, absl::StrCat("failed to push ", name));
    }
  }
  return response;
}

}  // namespace cachalot::exporting
