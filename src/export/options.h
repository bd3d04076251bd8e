// The attributes of an export request, checked and typed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "export/exporter.h"
#include "oci/image.h"
#include "snapshot/snapshots.h"

namespace cachalot::exporting {

enum class Kind { kImage, kOci, kDocker, kTar, kLocal };

// Annotations for one platform, or for all under "".
struct AnnotationSet {
  oci::Annotations index, index_descriptor, manifest, manifest_descriptor;
};

// Annotations by platform: keys "annotation[-<where>][[<platform>]].<name>".
class AnnotationGroup {
 public:
  // Takes `key` if it is an annotation's; false when it is something else.
  absl::StatusOr<bool> Take(const std::string& key, const std::string& value);
  // What applies to `platform` ("" for none): its own over what is for all; those of the index come from all.
  AnnotationSet For(const std::string& platform) const;
  // Platforms that are named.
  std::vector<std::string> Platforms() const;
  bool TouchesMoreThanManifests() const;

 private:
  std::map<std::string, AnnotationSet> by_platform_;
};

struct ExportOptions {
  Kind kind = Kind::kImage;
  std::string name;  // one or more, comma separated; "*" is the frontend's
  bool push = false, push_by_digest = false, insecure = false, name_canonical = false;
  std::string dangling_prefix;
  bool dangling_empty_only = false;
  bool oci_types = true;
  bool chose_oci_types = false, chose_oci_artifact = false;  // the two are not the default's choice
  bool oci_artifact = true;         // attestations as an artifact of their image, not as an image of their own; with OCI types only
  bool force_attestations = false;  // those that want to be in images only do not make an index of one by themselves otherwise
  bool tar = true;                  // false: an OCI layout goes into the client's content store
  bool rewrite_timestamp = false;
  snapshot::Compression compression;
  AnnotationGroup annotations;
  // SOURCE_DATE_EPOCH: unset lets the result's metadata decide, set but empty forbids it.
  bool has_epoch = false;
  std::optional<absl::Time> epoch;
  std::optional<bool> platform_split;
  std::string attestation_prefix;            // of the names of attestations' files
  bool delete_mode = false;                  // exporter local: the client removes what is not in the result
  std::map<std::string, std::string> other;  // attributes that are laid over the result's metadata
};

// `type` as in the request. The defaults are those of the current compatibility version.
absl::StatusOr<ExportOptions> ParseOptions(const std::string& type, const std::map<std::string, std::string>& attrs);

// Replaces defaults by those of an earlier version.
absl::Status ApplyCompatibility(int version, const std::string& type, const Source& source, ExportOptions& options);

// The epoch that applies to a platform of `source`: the option's, else the metadata's.
absl::StatusOr<std::optional<absl::Time>> EpochFor(const ExportOptions& options, const Source& source, const std::string& platform);

// "exporting to image" and the like.
std::string ExporterTitle(Kind kind);

}  // namespace cachalot::exporting
