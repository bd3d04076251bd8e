// The client as the daemon sees it: services that the client offers over its session (a reverse gRPC tunnel).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancel.h"
#include "oci/digest.h"
#include "oci/image.h"
#include "registry/client.h"
#include "session/byte_stream.h"
#include "store/blobs.h"

namespace cachalot::session {

// What to take from a directory of the client (LLB local source attributes).
struct SyncRequest {
  std::string name;  // of the directory: "context", "dockerfile"
  std::vector<std::string> include_patterns, exclude_patterns, follow_paths;
  bool metadata_only = false;  // stats travel, data does not, except of metadata_exceptions
  std::vector<std::string> metadata_exceptions;
  bool compare_metadata = true;  // false (differ "none"): every file travels
};
struct SyncStats {
  std::int64_t files = 0, bytes = 0;  // files whose data travelled; bytes of all packets, stats included
  // At the end: the directories ("" for the root, "a/b") of which an entry is not as it was before.
  std::vector<std::string> changed_directories;
};

// A tree for the client's output directory.
struct OutputTree {
  std::string source;                              // a directory of this host
  std::string subdirectory;                        // "" or one name to put the tree under, such as "linux_amd64"
  std::optional<absl::Time> modification_time;     // replaces every file's own (SOURCE_DATE_EPOCH)
  std::map<std::string, std::string> extra_files;  // name -> content: put beside the tree's first level (attestations)
};

// An exporter that the client asks for once the result is known (moby.exporter.v1).
struct ExporterRequest {
  std::string type;
  std::map<std::string, std::string> attrs;
};

// A stream of bytes to the client. Destruction without Close aborts it.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual absl::Status Write(absl::string_view bytes) = 0;
  virtual absl::Status Close() = 0;  // waits for the client's confirmation
};

// One attached client. Thread-safe. Calls fail with UNAVAILABLE once it is gone.
class Session {
 public:
  virtual ~Session() = default;
  virtual const std::string& id() const = 0;
  virtual const std::string& name() const = 0;
  virtual const std::string& shared_key() const = 0;
  // Whether the client offers a method, such as "/moby.filesync.v1.Auth/Credentials".
  virtual bool Offers(absl::string_view method) const = 0;
  // Cancelled when the client goes.
  virtual CancelToken gone() const = 0;

  // Makes `dest` (an existing directory, from an earlier sync or empty) equal to the client's directory: changed files
  // travel, others stay, deleted ones go. `dest` is written beneath its root only. On error `dest` may be in between.
  virtual absl::StatusOr<SyncStats> SyncDirectory(const SyncRequest& request, const std::string& dest,
                                                  const std::function<void(const SyncStats&)>& on_progress, const CancelToken& cancel) = 0;
  virtual absl::StatusOr<std::string> Secret(const std::string& id, const CancelToken& cancel) = 0;  // NOT_FOUND when unknown
  // OK when the client has an agent under `id`; then a unix socket that forwards to it until the return value goes.
  virtual absl::Status CheckSshAgent(const std::string& id, const CancelToken& cancel) = 0;
  class SshSocket {
   public:
    virtual ~SshSocket() = default;
    virtual const std::string& path() const = 0;
  };
  virtual absl::StatusOr<std::unique_ptr<SshSocket>> ForwardSsh(const std::string& id, std::uint32_t uid, std::uint32_t gid, std::uint32_t mode) = 0;
  virtual std::shared_ptr<registry::Credentials> credentials() = 0;
  // A file on the client that the build's output goes to (exporters oci, docker, tar). `exporter_id` is the index of the
  // exporter in the request as the client numbers it; `metadata` becomes call metadata.
  virtual absl::StatusOr<std::unique_ptr<ByteSink>> OpenOutputFile(const std::map<std::string, std::string>& metadata, int exporter_id,
                                                                   const CancelToken& cancel) = 0;
  // Puts a blob of `blobs` into the client's content store `store` ("export"); nothing travels when that has it.
  virtual absl::Status UploadBlob(const std::string& store, const oci::Descriptor& blob, store::BlobStore& blobs, const CancelToken& cancel) = 0;
  // Sends one tree, or several of distinct subdirectories, to the client's output directory in one transfer (exporter local).
  virtual absl::Status SendDirectory(const std::vector<OutputTree>& trees, int exporter_id,
                                     const std::function<void(std::int64_t bytes)>& on_progress, const CancelToken& cancel) = 0;
  // Reads the stream that the client offers at `url_path` (a tar context on stdin) to its end.
  virtual absl::Status PullUpload(const std::string& url_path, const std::function<absl::Status(absl::string_view)>& sink,
                                  const CancelToken& cancel) = 0;
  // The content stores that the client offers, such as "oci:name" for an OCI layout: a blob's size, and its bytes (not verified).
  // NOT_FOUND when there is no such store or blob.
  virtual absl::StatusOr<std::int64_t> BlobSize(const std::string& store, const oci::Digest& digest, const CancelToken& cancel) = 0;
  virtual absl::Status ReadBlob(const std::string& store, const oci::Digest& digest, const std::function<absl::Status(absl::string_view)>& sink,
                                const CancelToken& cancel) = 0;
  // The client's exporters for a finished result; empty when it offers none. `refs` are ids of the result's references.
  virtual absl::StatusOr<std::vector<ExporterRequest>> FindExporters(const std::map<std::string, std::string>& metadata,
                                                                     const std::vector<std::string>& refs, const CancelToken& cancel) = 0;
  virtual absl::Status FinalizeExport(const std::map<std::string, std::string>& exporter_response, const CancelToken& cancel) = 0;
  // Any other unary method ("/package.Service/Method") with a serialized message; returns the serialized answer.
  virtual absl::StatusOr<std::string> Call(absl::string_view method, absl::string_view request, absl::Duration timeout,
                                           const CancelToken& cancel) = 0;
};
using SessionPtr = std::shared_ptr<Session>;

// What a client says of itself when it attaches.
struct SessionMetadata {
  std::string id, name, shared_key;
  std::vector<std::string> methods;  // that it offers: "/moby.filesync.v1.Auth/Credentials"
  absl::Duration health_interval = absl::Seconds(5), health_timeout = absl::Seconds(15);
  int health_failures = 2;  // in a row, after which the session counts as gone

  // From the call's headers (x-docker-expose-session-*, names in any case). INVALID_ARGUMENT without an id.
  static absl::StatusOr<SessionMetadata> Parse(const std::multimap<std::string, std::string>& headers);
};

// The sessions attached to this process. Thread-safe.
class SessionHub {
 public:
  static std::unique_ptr<SessionHub> Create();
  virtual ~SessionHub() = default;
  // Attaches the client at the other end of `stream` (bytes of an HTTP/2 connection on which it is the gRPC server) and blocks
  // until it goes. OK when it left in order. Needs two threads per session, this one included.
  virtual absl::Status Serve(SessionMetadata metadata, ByteStream& stream) = 0;
  // The session by id (a "prefix:" is ignored); waits up to `patience` for it to attach: clients open it beside their solve
  // request. DEADLINE_EXCEEDED when it does not come.
  virtual absl::StatusOr<SessionPtr> Find(const std::string& id, absl::Duration patience, const CancelToken& cancel) = 0;
};

}  // namespace cachalot::session
