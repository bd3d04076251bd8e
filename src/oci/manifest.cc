#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "oci/descriptor_json.h"
#include "oci/image.h"

namespace cachalot::oci {
namespace {

constexpr int kIndent = 2;

constexpr absl::string_view kForeignLayer = "application/vnd.oci.image.layer.nondistributable.v1.tar";
constexpr absl::string_view kForeignDockerLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar";

struct LayerType {
  absl::string_view media_type, compression;
};
constexpr std::array<LayerType, 11> kLayerTypes = {{
    {kMediaTypeLayer, ""},
    {kMediaTypeLayerGzip, "gzip"},
    {kMediaTypeLayerZstd, "zstd"},
    {kDockerLayer, ""},
    {kDockerLayerGzip, "gzip"},
    {"application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd"},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar", ""},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "gzip"},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", "zstd"},
    {"application/vnd.docker.image.rootfs.foreign.diff.tar", ""},
    {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip"},
}};

Json StringMapJson(const Annotations& map) {
  Json out = Json::object();
  for (const auto& [key, value] : map) out[key] = value;
  return out;
}

Json ListJson(const std::vector<Descriptor>& list) {
  if (list.empty()) return nullptr;  // Go prints a nil slice
  Json out = Json::array();
  for (const Descriptor& descriptor : list) out.push_back(ToJson(descriptor));
  return out;
}

}  // namespace

bool IsIndex(absl::string_view media_type) { return media_type == kMediaTypeIndex || media_type == kDockerManifestList; }

bool IsManifest(absl::string_view media_type) { return media_type == kMediaTypeManifest || media_type == kDockerManifest; }

std::string LayerMediaType(absl::string_view compression, bool oci, bool foreign) {
  if (oci) return absl::StrCat(foreign ? kForeignLayer : kMediaTypeLayer, compression.empty() ? "" : "+", compression);
  return absl::StrCat(foreign ? kForeignDockerLayer : kDockerLayer, compression.empty() ? "" : ".", compression);
}

bool IsForeignLayer(absl::string_view media_type) {
  return absl::StartsWith(media_type, kForeignLayer) || absl::StartsWith(media_type, kForeignDockerLayer);
}

absl::StatusOr<std::string> LayerCompression(absl::string_view media_type) {
  for (const LayerType& type : kLayerTypes) {
    if (type.media_type == media_type) return std::string(type.compression);
  }
  return absl::InvalidArgumentError(absl::StrCat("unsupported media type ", absl::CEscape(media_type)));
}

void AddPlatform(const Platform& platform, Json& object) {
  object["architecture"] = platform.architecture;
  object["os"] = platform.os;
  if (!platform.os_version.empty()) object["os.version"] = platform.os_version;
  if (!platform.os_features.empty()) object["os.features"] = platform.os_features;
  if (!platform.variant.empty()) object["variant"] = platform.variant;
}

Platform ReadPlatform(ObjectReader& reader) {
  Platform platform;
  platform.architecture = reader.String("architecture");
  platform.os = reader.String("os");
  platform.os_version = reader.String("os.version");
  platform.os_features = reader.Strings("os.features");
  platform.variant = reader.String("variant");
  return platform;
}

Json ToJson(const Descriptor& descriptor) {
  Json out = Json::object();
  out["mediaType"] = descriptor.media_type;
  out["digest"] = descriptor.digest.str();
  out["size"] = descriptor.size;
  if (!descriptor.urls.empty()) out["urls"] = descriptor.urls;
  if (!descriptor.annotations.empty()) out["annotations"] = StringMapJson(descriptor.annotations);
  if (!descriptor.data.empty()) out["data"] = absl::Base64Escape(descriptor.data);
  if (descriptor.platform.has_value()) {
    Json platform = Json::object();
    AddPlatform(*descriptor.platform, platform);
    out["platform"] = std::move(platform);
  }
  if (!descriptor.artifact_type.empty()) out["artifactType"] = descriptor.artifact_type;
  return out;
}

Descriptor ReadDescriptor(const Json& value, const std::string& where, absl::Status& status) {
  ObjectReader reader(value, where, status);
  Descriptor out;
  out.media_type = reader.String("mediaType");
  absl::StatusOr<Digest> digest = Digest::Parse(reader.String("digest"));
  if (digest.ok()) {
    out.digest = *std::move(digest);
  } else {
    reader.Fail("digest", digest.status().message());
  }
  out.size = reader.Int("size");
  if (out.size < 0) reader.Fail("size", "is negative");
  out.urls = reader.Strings("urls");
  out.annotations = reader.StringMap("annotations");
  if (!absl::Base64Unescape(reader.String("data"), &out.data)) reader.Fail("data", "is not base64");
  if (const Json* platform = reader.Find("platform")) {
    ObjectReader members(*platform, reader.Where("platform"), status);
    out.platform = ReadPlatform(members);
  }
  out.artifact_type = reader.String("artifactType");
  return out;
}

absl::StatusOr<Descriptor> ParseDescriptor(absl::string_view json) {
  ASSIGN_OR_RETURN(const Json value, ParseJson(json, "descriptor"));
  absl::Status status;
  Descriptor out = ReadDescriptor(value, "descriptor", status);
  if (!status.ok()) return status;
  return out;
}

absl::StatusOr<Manifest> ParseManifest(absl::string_view json) {
  ASSIGN_OR_RETURN(const Json value, ParseJson(json, "manifest"));
  absl::Status status;
  ObjectReader reader(value, "manifest", status);
  Manifest out;
  out.media_type = reader.String("mediaType");
  if (out.media_type.empty()) out.media_type = std::string(kMediaTypeManifest);
  if (reader.Find("manifests") != nullptr) reader.Fail("manifests", "does not belong there: it is an index");
  out.artifact_type = reader.String("artifactType");
  if (const Json* config = reader.Find("config")) {
    out.config = ReadDescriptor(*config, reader.Where("config"), status);
  } else {
    reader.Fail("config", "is missing");
  }
  reader.Each("layers", [&](const Json& layer, const std::string& where) { out.layers.push_back(ReadDescriptor(layer, where, status)); });
  if (const Json* subject = reader.Find("subject")) out.subject = ReadDescriptor(*subject, reader.Where("subject"), status);
  out.annotations = reader.StringMap("annotations");
  if (!status.ok()) return status;
  return out;
}

absl::StatusOr<Index> ParseIndex(absl::string_view json) {
  ASSIGN_OR_RETURN(const Json value, ParseJson(json, "index"));
  absl::Status status;
  ObjectReader reader(value, "index", status);
  Index out;
  out.media_type = reader.String("mediaType");
  if (out.media_type.empty()) out.media_type = std::string(kMediaTypeIndex);
  if (reader.Find("layers") != nullptr || reader.Find("config") != nullptr) reader.Fail("layers", "does not belong there: it is a manifest");
  reader.Each("manifests", [&](const Json& entry, const std::string& where) { out.manifests.push_back(ReadDescriptor(entry, where, status)); });
  out.annotations = reader.StringMap("annotations");
  if (!status.ok()) return status;
  return out;
}

std::string Serialize(const Descriptor& descriptor) { return DumpGo(ToJson(descriptor)); }

std::string Serialize(const Manifest& manifest) {
  Json out = Json::object();
  out["schemaVersion"] = 2;
  if (!manifest.media_type.empty()) out["mediaType"] = manifest.media_type;
  if (!manifest.artifact_type.empty()) out["artifactType"] = manifest.artifact_type;
  out["config"] = ToJson(manifest.config);
  out["layers"] = ListJson(manifest.layers);
  if (manifest.subject.has_value()) out["subject"] = ToJson(*manifest.subject);
  if (!manifest.annotations.empty()) out["annotations"] = StringMapJson(manifest.annotations);
  return DumpGo(out, kIndent);
}

std::string Serialize(const Index& index) {
  Json out = Json::object();
  out["schemaVersion"] = 2;
  if (!index.media_type.empty()) out["mediaType"] = index.media_type;
  out["manifests"] = ListJson(index.manifests);
  if (!index.annotations.empty()) out["annotations"] = StringMapJson(index.annotations);
  return DumpGo(out, kIndent);
}

}  // namespace cachalot::oci
