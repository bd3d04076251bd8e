// Descriptors, manifests, indexes and image configurations (OCI image specification 1.1, Docker schema 2).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "oci/digest.h"
#include "oci/platform.h"

namespace cachalot::oci {

inline constexpr absl::string_view kMediaTypeManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr absl::string_view kMediaTypeIndex = "application/vnd.oci.image.index.v1+json";
inline constexpr absl::string_view kMediaTypeConfig = "application/vnd.oci.image.config.v1+json";
inline constexpr absl::string_view kMediaTypeLayer = "application/vnd.oci.image.layer.v1.tar";
inline constexpr absl::string_view kMediaTypeLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr absl::string_view kMediaTypeLayerZstd = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr absl::string_view kMediaTypeEmptyJson = "application/vnd.oci.empty.v1+json";
inline constexpr absl::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr absl::string_view kDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr absl::string_view kDockerConfig = "application/vnd.docker.container.image.v1+json";
inline constexpr absl::string_view kDockerLayer = "application/vnd.docker.image.rootfs.diff.tar";
inline constexpr absl::string_view kDockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";

using Annotations = std::map<std::string, std::string>;

struct Descriptor {
  std::string media_type{};
  Digest digest{};
  std::int64_t size = 0;
  Annotations annotations{};
  std::optional<Platform> platform{};
  std::string artifact_type{};
  std::vector<std::string> urls{};
  std::string data{};  // the embedded content itself, if any (base64 in JSON)
};

bool IsIndex(absl::string_view media_type);
bool IsManifest(absl::string_view media_type);
// The media type of a layer in OCI's or Docker's naming. `foreign`: one that says that registries may not distribute it.
std::string LayerMediaType(absl::string_view compression, bool oci, bool foreign = false);  // compression: "", "gzip", "zstd"
bool IsForeignLayer(absl::string_view media_type);
// "", "gzip" or "zstd" of a layer media type; an error for a type that is no layer.
absl::StatusOr<std::string> LayerCompression(absl::string_view media_type);

struct Manifest {
  std::string media_type = std::string(kMediaTypeManifest);
  std::string artifact_type;
  Descriptor config;
  std::vector<Descriptor> layers;
  Annotations annotations;
  std::optional<Descriptor> subject;
};

struct Index {
  std::string media_type = std::string(kMediaTypeIndex);
  std::vector<Descriptor> manifests;
  Annotations annotations;
};

struct HealthCheck {
  std::vector<std::string> test;  // {"NONE"}, {"CMD", ...} or {"CMD-SHELL", command}
  absl::Duration interval, timeout, start_period, start_interval;
  int retries = 0;
};

struct HistoryEntry {
  std::optional<absl::Time> created;
  std::string created_by;
  std::string author;
  std::string comment;
  bool empty_layer = false;

  friend bool operator==(const HistoryEntry&, const HistoryEntry&) = default;
};

// The run configuration: the "config" object of an image configuration, Docker's fields included.
struct RunConfig {
  std::string user;
  std::vector<std::string> exposed_ports;  // "80/tcp", sorted
  std::vector<std::string> env;            // "NAME=value", in order
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::vector<std::string> volumes;  // sorted
  std::string working_dir;
  std::map<std::string, std::string> labels;
  std::string stop_signal;
  bool args_escaped = false;
  std::optional<HealthCheck> healthcheck;
  std::vector<std::string> on_build;
  std::vector<std::string> shell;
};

struct ImageConfig {
  Platform platform;
  std::optional<absl::Time> created;
  std::string author;
  RunConfig config;
  std::vector<Digest> diff_ids;
  std::vector<HistoryEntry> history;
  // Top-level members that this structure does not know, kept for writing (a JSON object as text, or empty).
  std::string unknown_members;
};

// Parsers bound their input to 8 MiB and report the member that is wrong. Serializers give the canonical bytes that
// digests are computed over: members in the specification's order, as Go's encoder prints them.
absl::StatusOr<Manifest> ParseManifest(absl::string_view json);
absl::StatusOr<Index> ParseIndex(absl::string_view json);
absl::StatusOr<ImageConfig> ParseImageConfig(absl::string_view json);
absl::StatusOr<Descriptor> ParseDescriptor(absl::string_view json);
std::string Serialize(const Manifest& manifest);
std::string Serialize(const Index& index);
std::string Serialize(const ImageConfig& config);
std::string Serialize(const Descriptor& descriptor);
std::string Serialize(const std::vector<HistoryEntry>& history);

}  // namespace cachalot::oci
