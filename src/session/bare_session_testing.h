// A client without a connection that offers nothing: what fakes of session::Session start from.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "session/session.h"

namespace cachalot::session {

class BareSession : public Session {
 public:
  explicit BareSession(std::string id) : id_(std::move(id)) {}

  const std::string& id() const override { return id_; }
  const std::string& name() const override { return id_; }
  const std::string& shared_key() const override { return id_; }
  bool Offers(absl::string_view) const override { return false; }
  CancelToken gone() const override { return {}; }
  absl::StatusOr<SyncStats> SyncDirectory(const SyncRequest&, const std::string&, const std::function<void(const SyncStats&)>&,
                                          const CancelToken&) override {
    return absl::NotFoundError("no local sources enabled");
  }
  absl::StatusOr<std::string> Secret(const std::string&, const CancelToken&) override { return NotOffered(); }
  absl::Status CheckSshAgent(const std::string&, const CancelToken&) override { return NotOffered(); }
  absl::StatusOr<std::unique_ptr<SshSocket>> ForwardSsh(const std::string&, std::uint32_t, std::uint32_t, std::uint32_t) override {
    return NotOffered();
  }
  std::shared_ptr<registry::Credentials> credentials() override { return nullptr; }
  absl::StatusOr<std::unique_ptr<ByteSink>> OpenOutputFile(const std::map<std::string, std::string>&, int, const CancelToken&) override {
    return NotOffered();
  }
  absl::Status UploadBlob(const std::string&, const oci::Descriptor&, store::BlobStore&, const CancelToken&) override { return NotOffered(); }
  absl::Status SendDirectory(const std::vector<OutputTree>&, int, const std::function<void(std::int64_t)>&, const CancelToken&) override {
    return NotOffered();
  }
  absl::Status PullUpload(const std::string&, const std::function<absl::Status(absl::string_view)>&, const CancelToken&) override {
    return NotOffered();
  }
  absl::StatusOr<std::int64_t> BlobSize(const std::string&, const oci::Digest&, const CancelToken&) override { return NotOffered(); }
  absl::Status ReadBlob(const std::string&, const oci::Digest&, const std::function<absl::Status(absl::string_view)>&, const CancelToken&) override {
    return NotOffered();
  }
  absl::StatusOr<std::vector<ExporterRequest>> FindExporters(const std::map<std::string, std::string>&, const std::vector<std::string>&,
                                                             const CancelToken&) override {
    return NotOffered();
  }
  absl::Status FinalizeExport(const std::map<std::string, std::string>&, const CancelToken&) override { return NotOffered(); }
  absl::StatusOr<std::string> Call(absl::string_view, absl::string_view, absl::Duration, const CancelToken&) override { return NotOffered(); }

 private:
  static absl::Status NotOffered() { return absl::UnimplementedError("the client doesn't offer this"); }

  const std::string id_;
};

}  // namespace cachalot::session
