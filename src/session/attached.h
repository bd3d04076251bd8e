// A session over its client's HTTP/2 connection.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "session/rpc/call.h"
#include "session/session.h"

namespace cachalot::session {

class AttachedSession : public Session, public std::enable_shared_from_this<AttachedSession> {
 public:
  explicit AttachedSession(SessionMetadata metadata);
  // Carries the session over `stream`; blocks until the client goes. Call it once.
  absl::Status Run(ByteStream& stream);
  // Asks the client now and then whether it is well; ends the session when it is silent too often. Never waits; one thread calls it.
  void CheckHealth(std::chrono::steady_clock::time_point now);

  const std::string& id() const override { return metadata_.id; }
  const std::string& name() const override { return metadata_.name; }
  const std::string& shared_key() const override { return metadata_.shared_key; }
  bool Offers(absl::string_view method) const override;
  CancelToken gone() const override { return gone_.token(); }
  absl::StatusOr<SyncStats> SyncDirectory(const SyncRequest& request, const std::string& dest,
                                          const std::function<void(const SyncStats&)>& on_progress, const CancelToken& cancel) override;
  absl::StatusOr<std::string> Secret(const std::string& id, const CancelToken& cancel) override;
  absl::Status CheckSshAgent(const std::string& id, const CancelToken& cancel) override;
  absl::StatusOr<std::unique_ptr<SshSocket>> ForwardSsh(const std::string& id, std::uint32_t uid, std::uint32_t gid, std::uint32_t mode) override;
  std::shared_ptr<registry::Credentials> credentials() override { return credentials_; }
  absl::StatusOr<std::unique_ptr<ByteSink>> OpenOutputFile(const std::map<std::string, std::string>& metadata, int exporter_id,
                                                           const CancelToken& cancel) override;
  absl::Status UploadBlob(const std::string& store, const oci::Descriptor& blob, store::BlobStore& blobs, const CancelToken& cancel) override;
  absl::Status SendDirectory(const std::vector<OutputTree>& trees, int exporter_id, const std::function<void(std::int64_t bytes)>& on_progress,
                             const CancelToken& cancel) override;
  absl::Status PullUpload(const std::string& url_path, const std::function<absl::Status(absl::string_view)>& sink,
                          const CancelToken& cancel) override;
  absl::StatusOr<std::int64_t> BlobSize(const std::string& store, const oci::Digest& digest, const CancelToken& cancel) override;
  absl::Status ReadBlob(const std::string& store, const oci::Digest& digest, const std::function<absl::Status(absl::string_view)>& sink,
                        const CancelToken& cancel) override;
  absl::StatusOr<std::vector<ExporterRequest>> FindExporters(const std::map<std::string, std::string>& metadata, const std::vector<std::string>& refs,
                                                             const CancelToken& cancel) override;
  absl::Status FinalizeExport(const std::map<std::string, std::string>& exporter_response, const CancelToken& cancel) override;
  absl::StatusOr<std::string> Call(absl::string_view method, absl::string_view request, absl::Duration timeout, const CancelToken& cancel) override;

  RpcConnection& connection() { return *connection_; }

 private:
  absl::Status NeedsMethod(absl::string_view method) const;

  const SessionMetadata metadata_;
  std::set<std::string> methods_;  // lower case
  const std::shared_ptr<RpcConnection> connection_;
  const std::shared_ptr<registry::Credentials> credentials_;  // one for all: registries keep tokens per object
  CancelSource gone_;

  // Of the thread that calls CheckHealth.
  std::optional<RpcCall> health_call_;
  std::chrono::steady_clock::time_point next_check_, check_deadline_;
  int failures_ = 0;
};

}  // namespace cachalot::session
