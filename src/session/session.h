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
#include "absl/time/time.h"
#include "absl/strings/string_view.h"
#include "base/cancel.h"
#include "registry/client.h"

namespace cachalot::session {

// What to take from a directory of the client (LLB local source attributes).
struct SyncRequest {
  std::string name;  // of the directory: "context", "dockerfile"
  std::vector<std::string> include_patterns, exclude_patterns, follow_paths;
  bool metadata_only = false;                    // stats travel, data does not, except of metadata_exceptions
  std::vector<std::string> metadata_exceptions;
  bool compare_metadata = true;                  // false (differ "none"): every file travels
};
struct SyncStats {
  std::int64_t files = 0, bytes = 0;  // that travelled
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
  virtual absl::StatusOr<std::unique_ptr<ByteSink>> OpenOutputFile(const std::map<std::string, std::string>& metadata, int exporter_id, const CancelToken& cancel) = 0;
  // Sends the tree at `source` to the client's output directory (exporter local).
  virtual absl::Status SendDirectory(const std::string& source, int exporter_id, const std::function<void(std::int64_t bytes)>& on_progress,
                                     const CancelToken& cancel) = 0;
  // Reads the stream that the client offers at `url_path` (a tar context on stdin) to its end.
  virtual absl::Status PullUpload(const std::string& url_path, const std::function<absl::Status(absl::string_view)>& sink, const CancelToken& cancel) = 0;
};
using SessionPtr = std::shared_ptr<Session>;

// The sessions attached to this process. Thread-safe.
class SessionHub {
 public:
  static std::unique_ptr<SessionHub> Create();
  virtual ~SessionHub() = default;
  // The session by id; waits until `deadline` for it to attach (clients open it beside their solve request).
  virtual absl::StatusOr<SessionPtr> Find(const std::string& id, absl::Duration patience, const CancelToken& cancel) = 0;
};

}  // namespace cachalot::session
