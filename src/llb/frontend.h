// The seam between frontends (Dockerfile, gateway images, clients that run their own) and the engine.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancel.h"
#include "llb/definition.h"
#include "llb/op.h"
#include "oci/digest.h"
#include "oci/image.h"
#include "oci/platform.h"
#include "policy/policy.h"

namespace cachalot::llb {

// A tree that a frontend has asked for. It is solved lazily: on the first read, by Evaluate(), or at export.
class Ref {
 public:
  virtual ~Ref() = default;
  // The graph this ref stands for; an edge without vertex is the empty tree.
  virtual const Edge& edge() const = 0;
  virtual absl::Status Evaluate(const CancelToken& cancel) = 0;
};
using RefPtr = std::shared_ptr<Ref>;

struct FileStat {
  std::string path;        // base name in directory listings
  std::uint32_t mode = 0;  // Go's os.FileMode bits, as the wire has them
  std::uint32_t uid = 0, gid = 0;
  std::int64_t size = 0, mod_time_ns = 0;
  std::string link_name{};
};

struct InTotoSubject {
  bool self = true;
  std::vector<std::string> digests;
  std::string name;
};
struct Attestation {
  int kind = 0;
  std::map<std::string, std::string> metadata;
  RefPtr ref;
  std::string path;
  std::string predicate_type;
  std::vector<InTotoSubject> subjects;
};

// What a frontend returns: one ref, or one per platform, and metadata ("containerimage.config", "refs.platforms", ...).
struct FrontendResult {
  RefPtr ref;                          // null with refs, or for scratch
  std::map<std::string, RefPtr> refs;  // by platform id
  std::map<std::string, std::string> metadata;
  std::map<std::string, std::vector<Attestation>> attestations;  // by platform id
};

// A digest of a web resource's content with `suffix` behind it, such as OpenPGP signs.
struct ChecksumRequest {
  std::string algorithm;  // "sha256", "sha384", "sha512"
  std::string suffix;
};

struct ResolveOptions {
  std::optional<oci::Platform> platform;
  std::string resolve_mode;             // "default", "local" (prefer local), "pull"; empty is default
  std::string log_name;                 // a vertex with this name shows the resolution
  std::string store_session, store_id;  // for OCI layouts: where the client keeps them
  // Images: what to leave out and what to add.
  bool no_config = false, attestation_chain = false;
  std::vector<std::string> attestations;    // predicate types whose statements belong to the chain
  bool git_objects = false;                 // with the commit and tag themselves
  std::optional<ChecksumRequest> checksum;  // of a web resource
  std::vector<policy::Policy> policies;     // that the frontend adds to the build's own
};
struct ResolvedImage {
  std::string ref;     // the reference in full, possibly rewritten by policy
  oci::Digest digest;  // of the manifest or index
  std::string config;  // the image configuration (JSON) of the platform
};

// A cache to import while a graph is solved: its type ("registry") and attributes.
struct CacheImport {
  std::string type;
  std::map<std::string, std::string> attrs;
};

struct SolveRequest {
  Definition definition;
  std::string frontend;  // with `options`, when the definition is to come from another frontend
  std::map<std::string, std::string> options;
  std::map<std::string, Definition> inputs;
  bool evaluate = false;
  std::vector<CacheImport> cache_imports;
  std::vector<policy::Policy> policies;  // that the frontend adds to the build's own, for the sources of `definition`
};

// The documents that vouch for an image, for those who verify them.
struct AttestationChain {
  struct Blob {
    oci::Descriptor descriptor;
    std::string data;
  };
  oci::Digest root, image_manifest, attestation_manifest;  // the latter two may be missing
  std::vector<oci::Digest> signature_manifests;
  std::map<oci::Digest, Blob> blobs;
};
struct ResolvedGit {
  std::string ref;              // in full: "refs/heads/main", or a commit
  std::string checksum;         // the object that the ref names
  std::string commit_checksum;  // the commit, when that object is a tag
  std::string commit_object, tag_object;
};
struct ResolvedHttp {
  oci::Digest digest;
  std::string filename;
  std::optional<absl::Time> last_modified;
  oci::Digest checksum;  // that was asked for
};
// A source as it is now. Which of the details there are depends on its kind.
struct ResolvedSource {
  SourceOp source;
  std::optional<ResolvedImage> image;
  std::optional<AttestationChain> attestations;
  std::optional<ResolvedGit> git;
  std::optional<ResolvedHttp> http;
  std::optional<absl::Time> time;  // when it was made, if it says: a commit's time, a web resource's Last-Modified
};

// A payload of ResolveImage's error when a source policy turned the image into another kind of source: that one's identifier.
inline constexpr char kOtherSourcePayload[] = "cachalot/other-source";

// What the engine offers a frontend. Thread-safe.
class FrontendBridge {
 public:
  virtual ~FrontendBridge() = default;
  virtual absl::StatusOr<FrontendResult> Solve(const SolveRequest& request) = 0;
  virtual absl::StatusOr<ResolvedImage> ResolveImage(const std::string& ref, const ResolveOptions& options) = 0;
  // Asks for what a source of any kind is now; the build keeps to the answer.
  virtual absl::StatusOr<ResolvedSource> ResolveSource(const SourceOp& source, const ResolveOptions& options) = 0;
  // Reads `path` beneath the ref's root. NOT_FOUND when absent. `length` 0 is to the end.
  virtual absl::StatusOr<std::string> ReadFile(const RefPtr& ref, const std::string& path, std::int64_t offset, std::int64_t length) = 0;
  virtual absl::StatusOr<std::vector<FileStat>> ReadDir(const RefPtr& ref, const std::string& path, const std::string& include_pattern) = 0;
  virtual absl::StatusOr<FileStat> StatFile(const RefPtr& ref, const std::string& path) = 0;
  virtual void Warn(solver::WarningEvent warning) = 0;
  virtual oci::Platform default_platform() const = 0;
  // The session of the client that builds, or empty.
  virtual std::string session() const { return ""; }
  virtual CancelToken cancel() const = 0;
};

// A program that turns options and inputs into a result, such as "dockerfile.v0".
class Frontend {
 public:
  virtual ~Frontend() = default;
  virtual absl::StatusOr<FrontendResult> Run(FrontendBridge& bridge, const std::map<std::string, std::string>& options,
                                             const std::map<std::string, Definition>& inputs) = 0;
};

}  // namespace cachalot::llb
