#include "export/image_writer.h"

#include <algorithm>
#include <atomic>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/guarded.h"
#include "base/log.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/worker_pool.h"
#include "export/attestation.h"
#include "export/attestation_manifest.h"
#include "export/image_config.h"
#include "export/rewrite_layer.h"
#include "oci/platform.h"

namespace cachalot::exporting {
namespace {

constexpr int kParallelLayers = 4;

// One export of one image.
class ImageWriter {
 public:
  ImageWriter(const ExportOptions& options, const Source& source, bool keep_remote, const Context& context, ExportVertex& vertex)
      : options_(options), source_(source), keep_remote_(keep_remote), context_(context), vertex_(vertex) {}

  absl::StatusOr<WrittenImage> Write() {
    image_.is_index = source_.multi_platform || WantsAttestations();
    RETURN_IF_ERROR(Check());
    ASSIGN_OR_RETURN(std::vector<std::vector<snapshot::Layer>> layers, ExportLayers());
    for (std::size_t i = 0; i < source_.platforms.size(); ++i) {
      ASSIGN_OR_RETURN(WrittenManifest manifest, WriteManifest(source_.platforms[i], std::move(layers[i])));
      image_.manifests.push_back(std::move(manifest));
    }
    if (image_.is_index) {
      RETURN_IF_ERROR(WriteAttestations());
      RETURN_IF_ERROR(WriteIndex());
    } else {
      image_.root = image_.manifests.front().descriptor;
      image_.config = image_.manifests.front().manifest.config.digest;
    }
    return std::move(image_);
  }

 private:
  bool WantsAttestations() const;
  absl::Status Check() const;
  absl::StatusOr<std::vector<std::vector<snapshot::Layer>>> ExportLayers();
  absl::StatusOr<std::string> InlineCacheFor(const PlatformResult& result, const std::vector<snapshot::Layer>& layers);
  absl::StatusOr<WrittenManifest> WriteManifest(const PlatformResult& result, std::vector<snapshot::Layer> layers);
  absl::Status RewriteTimes(const std::string& base_config, absl::Time epoch, std::vector<snapshot::Layer>& layers);
  absl::Status WriteAttestations();
  absl::Status WriteIndex();
  // Stores small content and pins it.
  absl::Status Put(const std::string& bytes);
  std::string BaseConfigOf(const std::string& platform) const;

  const ExportOptions& options_;
  const Source& source_;
  const bool keep_remote_;
  const Context& context_;
  ExportVertex& vertex_;
  WrittenImage image_;
};

// Annotations that the build uses for itself stay out of manifests; Docker's media types know none at all.
oci::Annotations PublicAnnotations(const oci::Annotations& annotations, bool oci_types) {
  oci::Annotations out;
  if (!oci_types) return out;
  for (const auto& [key, value] : annotations) {
    if (key == "containerd.io/uncompressed" || key == "buildkit/createdat" || absl::StartsWith(key, "containerd.io/distribution.source.")) continue;
    out[key] = value;
  }
  return out;
}

absl::StatusOr<oci::Descriptor> LayerDescriptor(const snapshot::Layer& layer, bool oci_types) {
  oci::Descriptor out = layer.blob;
  ASSIGN_OR_RETURN(const std::string compression, oci::LayerCompression(out.media_type));
  const bool foreign = oci::IsForeignLayer(layer.blob.media_type);
  out.media_type = oci::LayerMediaType(compression, oci_types, foreign);
  out.annotations = PublicAnnotations(out.annotations, oci_types);
  if (!foreign) out.urls.clear();
  return out;
}

bool ImageWriter::WantsAttestations() const {
  return std::any_of(source_.platforms.begin(), source_.platforms.end(), [&](const PlatformResult& result) {
    return options_.force_attestations ? !result.attestations.empty() : HasOutlineAttestation(result.attestations);
  });
}

absl::Status ImageWriter::Check() const {
  if (source_.platforms.empty()) return absl::InvalidArgumentError("the result has no platform to export");
  if (!source_.multi_platform && source_.platforms.size() > 1) {
    return absl::InvalidArgumentError("cannot export multiple platforms without multi-platform enabled");
  }
  for (const std::string& platform : options_.annotations.Platforms()) {
    const auto named = [&](const PlatformResult& result) { return result.id == platform; };
    if (source_.multi_platform && std::none_of(source_.platforms.begin(), source_.platforms.end(), named)) {
      return absl::InvalidArgumentError(absl::StrCat("invalid annotation: no platform ", platform, " found in source"));
    }
  }
  if (!options_.oci_types && options_.annotations.TouchesMoreThanManifests()) {
    return absl::InvalidArgumentError("cannot export annotations with \"oci-mediatypes=false\"");
  }
  if (!options_.oci_types && WantsAttestations()) {
    return absl::InvalidArgumentError("cannot export attestations with \"oci-mediatypes=false\"");
  }
  const AnnotationSet common = options_.annotations.For("");
  if (!image_.is_index && (!common.index.empty() || !common.index_descriptor.empty())) {
    return absl::InvalidArgumentError("index annotations not supported for single platform export");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<snapshot::Layer>>> ImageWriter::ExportLayers() {
  std::vector<std::vector<snapshot::Layer>> out(source_.platforms.size());
  const absl::Status status = vertex_.Run("exporting layers", [&] {
    return ForEach(out.size(), kParallelLayers, [&](std::size_t i) -> absl::Status {
      if (source_.platforms[i].tree == nullptr) return absl::OkStatus();
      ASSIGN_OR_RETURN(out[i],
                       context_.snapshots->Layers(source_.platforms[i].tree, options_.compression, keep_remote_, *context_.fetcher, context_.cancel));
      return absl::OkStatus();
    });
  });
  RETURN_IF_ERROR(status);
  for (const std::vector<snapshot::Layer>& layers : out) {
    for (const snapshot::Layer& layer : layers) image_.pins.push_back(context_.blobs->Pin(layer.blob.digest));
  }
  return out;
}

std::string ImageWriter::BaseConfigOf(const std::string& platform) const {
  for (const std::string& key : {absl::StrCat("containerimage.base.config/", platform), std::string("containerimage.base.config")}) {
    if (const auto it = source_.metadata.find(key); it != source_.metadata.end()) return it->second;
  }
  return "";
}

absl::Status ImageWriter::Put(const std::string& bytes) {
  image_.pins.push_back(context_.blobs->Pin(oci::Digest::Of(bytes)));
  return context_.blobs->Put(bytes).status();
}

absl::Status ImageWriter::RewriteTimes(const std::string& base_config, absl::Time epoch, std::vector<snapshot::Layer>& layers) {
  std::vector<oci::Digest> base_ids;
  if (!base_config.empty()) {
    absl::StatusOr<oci::ImageConfig> base = oci::ParseImageConfig(base_config);
    if (!base.ok()) return Annotate(base.status(), "failed to unmarshal base image config");
    base_ids = std::move(base->diff_ids);
  }
  std::size_t first = 0;  // layers of the base image stay as they are
  while (first < layers.size() && first < base_ids.size() && layers[first].diff_id == base_ids[first]) ++first;
  const std::string title = absl::StrCat("rewriting layers with source-date-epoch ", absl::ToUnixSeconds(epoch), " (",
                                         absl::FormatTime("%Y-%m-%d %H:%M:%S +0000 UTC", epoch, absl::UTCTimeZone()), ")");
  return vertex_.Run(title, [&] {
    return ForEach(layers.size() - first, kParallelLayers, [&](std::size_t i) -> absl::Status {
      snapshot::Layer& layer = layers[first + i];
      RETURN_IF_ERROR(EnsureLocal(layer, context_));
      ASSIGN_OR_RETURN(layer, RewriteLayer(layer, epoch, options_.compression, *context_.blobs, context_.cancel));
      return absl::OkStatus();
    });
  });
}

absl::StatusOr<std::string> ImageWriter::InlineCacheFor(const PlatformResult& result, const std::vector<snapshot::Layer>& layers) {
  if (result.inline_cache == nullptr) return std::string();
  std::vector<oci::Digest> diff_ids;
  for (const snapshot::Layer& layer : layers) diff_ids.push_back(layer.diff_id);
  std::string records;
  RETURN_IF_ERROR(vertex_.Run("preparing layers for inline cache", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(records, result.inline_cache(diff_ids, options_.compression));
    return absl::OkStatus();
  }));
  return records;
}

absl::StatusOr<WrittenManifest> ImageWriter::WriteManifest(const PlatformResult& result, std::vector<snapshot::Layer> layers) {
  const std::string config = result.config.empty() ? DefaultImageConfig() : result.config;
  ASSIGN_OR_RETURN(const oci::Platform platform, PlatformOf(result, result.config));
  ASSIGN_OR_RETURN(const std::string id, PlatformId(result, result.config));
  ASSIGN_OR_RETURN(const std::optional<absl::Time> epoch, EpochFor(options_, source_, id));
  const std::string base_config = BaseConfigOf(id);
  ASSIGN_OR_RETURN(const std::string inline_cache, InlineCacheFor(result, layers));  // by the layers that the build made, before they are rewritten
  if (options_.rewrite_timestamp) {
    if (epoch.has_value()) {
      RETURN_IF_ERROR(RewriteTimes(base_config, *epoch, layers));
      for (const snapshot::Layer& layer : layers) image_.pins.push_back(context_.blobs->Pin(layer.blob.digest));
    } else {
      LogWarning("rewrite-timestamp is specified, but no source-date-epoch was found");
    }
  }
  ASSIGN_OR_RETURN(const std::string config_bytes, AssembleImageConfig({config, base_config, layers, epoch, inline_cache}));
  const AnnotationSet annotations = options_.annotations.For(image_.is_index ? oci::FormatPlatform(platform, true) : "");

  WrittenManifest out;
  out.layers = std::move(layers);
  out.manifest.media_type = std::string(options_.oci_types ? oci::kMediaTypeManifest : oci::kDockerManifest);
  out.manifest.annotations = annotations.manifest;
  out.manifest.config.media_type = std::string(options_.oci_types ? oci::kMediaTypeConfig : oci::kDockerConfig);
  out.manifest.config.digest = oci::Digest::Of(config_bytes);
  out.manifest.config.size = static_cast<std::int64_t>(config_bytes.size());
  for (const snapshot::Layer& layer : out.layers) {
    ASSIGN_OR_RETURN(oci::Descriptor descriptor, LayerDescriptor(layer, options_.oci_types));
    out.manifest.layers.push_back(std::move(descriptor));
  }
  const std::string bytes = Serialize(out.manifest);
  out.descriptor.media_type = out.manifest.media_type;
  out.descriptor.digest = oci::Digest::Of(bytes);
  out.descriptor.size = static_cast<std::int64_t>(bytes.size());
  out.descriptor.annotations = annotations.manifest_descriptor;
  out.descriptor.platform = platform;
  RETURN_IF_ERROR(vertex_.Run(absl::StrCat("exporting manifest ", out.descriptor.digest.str()), [&] { return Put(bytes); }));
  RETURN_IF_ERROR(vertex_.Run(absl::StrCat("exporting config ", out.manifest.config.digest.str()), [&] { return Put(config_bytes); }));
  return out;
}

absl::Status ImageWriter::WriteAttestations() {
  const std::string names = ImageNames(options_, source_);
  for (std::size_t i = 0; i < source_.platforms.size(); ++i) {
    if (source_.platforms[i].attestations.empty()) continue;
    ASSIGN_OR_RETURN(AttestationManifest made, MakeAttestationManifest(options_, source_.platforms[i], image_.manifests[i], names, context_));
    RETURN_IF_ERROR(vertex_.Run(absl::StrCat("exporting attestation manifest ", made.manifest.descriptor.digest.str()), [&]() -> absl::Status {
      for (const std::string& bytes : made.blobs) RETURN_IF_ERROR(Put(bytes));
      return absl::OkStatus();
    }));
    image_.manifests.push_back(std::move(made.manifest));
  }
  return absl::OkStatus();
}

absl::Status ImageWriter::WriteIndex() {
  const AnnotationSet annotations = options_.annotations.For("");
  oci::Index index;
  index.media_type = std::string(options_.oci_types ? oci::kMediaTypeIndex : oci::kDockerManifestList);
  index.annotations = annotations.index;
  for (const WrittenManifest& manifest : image_.manifests) index.manifests.push_back(manifest.descriptor);
  const std::string bytes = Serialize(index);
  image_.root.media_type = index.media_type;
  image_.root.digest = oci::Digest::Of(bytes);
  image_.root.size = static_cast<std::int64_t>(bytes.size());
  image_.root.annotations = annotations.index_descriptor;
  return vertex_.Run(absl::StrCat("exporting manifest list ", image_.root.digest.str()), [&] { return Put(bytes); });
}

}  // namespace

absl::StatusOr<WrittenImage> WriteImage(const ExportOptions& options, const Source& source, bool keep_remote, const Context& context,
                                        ExportVertex& vertex) {
  return ImageWriter(options, source, keep_remote, context, vertex).Write();
}

absl::StatusOr<oci::Platform> PlatformOf(const PlatformResult& result, const std::string& config) {
  if (result.platform.has_value()) return oci::Normalize(*result.platform);
  if (config.empty() || config == "null") return oci::HostPlatform();
  ASSIGN_OR_RETURN(const oci::ImageConfig parsed, oci::ParseImageConfig(config));
  if (parsed.platform.os.empty() != parsed.platform.architecture.empty()) {
    return absl::InvalidArgumentError("invalid image config: os and architecture must be specified together");
  }
  return parsed.platform.os.empty() ? oci::HostPlatform() : oci::Normalize(parsed.platform);
}

absl::StatusOr<std::string> PlatformId(const PlatformResult& result, const std::string& config) {
  if (!result.id.empty()) return result.id;
  ASSIGN_OR_RETURN(const oci::Platform platform, PlatformOf(result, config));
  return oci::FormatPlatform(platform, true);
}

std::string ImageNames(const ExportOptions& options, const Source& source) {
  const auto given = source.metadata.find("image.name");
  return options.name == "*" && given != source.metadata.end() ? given->second : options.name;
}

Source WithMetadata(const Source& source, const ExportOptions& options) {
  Source out = source;
  for (const auto& [key, value] : options.other) out.metadata[key] = value;
  const auto plain = options.other.find("containerimage.config");
  for (PlatformResult& result : out.platforms) {
    const auto own = options.other.find(absl::StrCat("containerimage.config/", result.id));
    if (own != options.other.end()) {
      result.config = own->second;
    } else if (plain != options.other.end() && (!source.multi_platform || result.config.empty())) {
      result.config = plain->second;
    }
  }
  return out;
}

absl::Status EnsureLocal(const snapshot::Layer& layer, const Context& context) {
  if (context.blobs->Has(layer.blob.digest)) return absl::OkStatus();
  return context.fetcher->Fetch(layer, *context.blobs, context.cancel);
}

absl::Status ForEach(std::size_t count, int width, const std::function<absl::Status(std::size_t)>& work) {
  if (count == 1) return work(0);
  Guarded<absl::Status> first_error;
  {
    WorkerPool pool("export", std::min<int>(width, static_cast<int>(std::max<std::size_t>(1, count))));
    for (std::size_t i = 0; i < count; ++i) {
      pool.Run([&, i] {
        if (!first_error.Lock()->ok()) return;
        const absl::Status status = work(i);
        auto error = first_error.Lock();
        if (error->ok()) *error = status;
      });
    }
  }
  return *first_error.Lock();
}

std::map<std::string, std::string> ImageResponse(const WrittenImage& image) {
  std::map<std::string, std::string> response;
  response["containerimage.digest"] = image.root.digest.str();
  if (!image.config.empty()) response["containerimage.config.digest"] = image.config.str();
  response["containerimage.descriptor"] = absl::Base64Escape(Serialize(image.root));
  return response;
}

}  // namespace cachalot::exporting
