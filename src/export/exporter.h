// Exporters: a solved result becomes an image, an archive or files.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "oci/image.h"
#include "registry/client.h"
#include "session/session.h"
#include "snapshot/snapshots.h"
#include "solver/progress.h"
#include "store/blobs.h"

namespace cachalot::exporting {

// What an attestation is about: the exported thing itself, or something with these digests.
struct Subject {
  bool self = true;
  std::vector<oci::Digest> digests;
  std::string name;
};

// A claim about one platform's part of a result, in in-toto's form.
struct Attestation {
  bool bundle = false;                                   // the tree has a directory of whole statements instead of one predicate
  std::map<std::string, std::string> metadata;           // "reason", "sbom-core", "inline-only"
  snapshot::SnapshotPtr tree;                            // where the predicate is; null: scratch
  std::string path;                                      // of the predicate, or of the bundle's directory; names the file of local exports
  std::function<absl::StatusOr<std::string>()> content;  // makes the predicate; the tree does not count then
  std::string predicate_type;
  std::vector<Subject> subjects;  // none: the exported thing
};

inline constexpr char kAttestationReason[] = "reason";
inline constexpr char kAttestationSbomCore[] = "sbom-core";
inline constexpr char kAttestationInlineOnly[] = "inline-only";
inline constexpr char kSpdxPredicate[] = "https://spdx.dev/Document";

// One platform's part of a result.
struct PlatformResult {
  std::string id;  // "linux/amd64"; empty for a result without platforms
  std::optional<oci::Platform> platform;
  snapshot::SnapshotPtr tree;  // null: scratch
  std::string config;          // image configuration (JSON) as the frontend gave it; empty: none
  std::vector<Attestation> attestations{};
  // What the image's configuration says for builds that use it as a cache, for layers with these diff ids; null: nothing.
  std::function<absl::StatusOr<std::string>(const std::vector<oci::Digest>& diff_ids, const snapshot::Compression&)> inline_cache{};
};

struct Source {
  std::vector<PlatformResult> platforms;        // one, or one per platform
  bool multi_platform = false;                  // refs.platforms was given
  std::map<std::string, std::string> metadata;  // the frontend's result metadata
};

// What exporters do by default has changed over time. Clients may ask for what it was with BuildKit 0.13 (10), 0.15 (20) or since
// 0.31 (30): OCI media types and artifacts everywhere.
inline constexpr int kCompatibility013 = 10, kCompatibility015 = 20, kCompatibilityCurrent = 30;
// INVALID_ARGUMENT for any other.
absl::Status CheckCompatibilityVersion(int version);

// What an exporter may use. Everything outlives the export.
struct Context {
  snapshot::Snapshots* snapshots;
  snapshot::BlobFetcher* fetcher;
  store::BlobStore* blobs;
  registry::Client* registry;
  session::SessionPtr session;  // of the client that asked; null when there is none
  int exporter_id = 0;          // its index in the request
  std::shared_ptr<solver::ProgressSink> progress;
  Clock* clock;
  CancelToken cancel;
  int compatibility_version = kCompatibilityCurrent;
  std::vector<std::string> warnings{};  // about the result, to be shown with the export
};

// Runs exporter `type` ("image", "oci", "docker", "tar", "local") with the request's attributes ("name", "push",
// "compression", "dest", ...). Returns the exporter response ("containerimage.digest", "image.name", ...). An unknown type
// or attribute value is an INVALID_ARGUMENT that names it.
absl::StatusOr<std::map<std::string, std::string>> Export(const std::string& type, const std::map<std::string, std::string>& attrs,
                                                          const Source& source, const Context& context);
// Checks type and attributes before the build starts; the same errors as Export.
absl::Status CheckExport(const std::string& type, const std::map<std::string, std::string>& attrs);

}  // namespace cachalot::exporting
