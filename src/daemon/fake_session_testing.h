// A client without a connection: it plays the part of session::Session in tests of the services.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "session/session.h"

namespace cachalot::daemon {

// Answers generic calls, and offers nothing else.
class FakeSession final : public session::Session {
 public:
  using OnCall = std::function<absl::StatusOr<std::string>(absl::string_view method, absl::string_view request)>;
  FakeSession(std::string id, OnCall on_call) : id_(std::move(id)), on_call_(std::move(on_call)) {}

  const std::string& id() const override { return id_; }
  const std::string& name() const override { return id_; }
  const std::string& shared_key() const override { return id_; }
  bool Offers(absl::string_view) const override { return false; }
  CancelToken gone() const override { return {}; }
  absl::StatusOr<session::SyncStats> SyncDirectory(const session::SyncRequest&, const std::string&,
                                                   const std::function<void(const session::SyncStats&)>&, const CancelToken&) override {
    return NotOffered();
  }
  absl::StatusOr<std::string> Secret(const std::string&, const CancelToken&) override { return NotOffered(); }
  absl::Status CheckSshAgent(const std::string&, const CancelToken&) override { return NotOffered(); }
  absl::StatusOr<std::unique_ptr<SshSocket>> ForwardSsh(const std::string&, std::uint32_t, std::uint32_t, std::uint32_t) override {
    return NotOffered();
  }
  std::shared_ptr<registry::Credentials> credentials() override { return nullptr; }
  absl::StatusOr<std::unique_ptr<session::ByteSink>> OpenOutputFile(const std::map<std::string, std::string>&, int, const CancelToken&) override {
    return NotOffered();
  }
  absl::Status SendDirectory(const std::vector<session::OutputTree>&, int, const std::function<void(std::int64_t)>&, const CancelToken&) override {
    return NotOffered();
  }
  absl::Status PullUpload(const std::string&, const std::function<absl::Status(absl::string_view)>&, const CancelToken&) override {
    return NotOffered();
  }
  absl::Status UploadBlob(const std::string&, const oci::Descriptor&, store::BlobStore&, const CancelToken&) override { return NotOffered(); }
  absl::StatusOr<std::int64_t> BlobSize(const std::string&, const oci::Digest&, const CancelToken&) override { return NotOffered(); }
  absl::Status ReadBlob(const std::string&, const oci::Digest&, const std::function<absl::Status(absl::string_view)>&, const CancelToken&) override {
    return NotOffered();
  }
  absl::StatusOr<std::vector<session::ExporterRequest>> FindExporters(const std::map<std::string, std::string>&, const std::vector<std::string>&,
                                                                      const CancelToken&) override {
    return NotOffered();
  }
  absl::Status FinalizeExport(const std::map<std::string, std::string>&, const CancelToken&) override { return NotOffered(); }
  absl::StatusOr<std::string> Call(absl::string_view method, absl::string_view request, absl::Duration, const CancelToken&) override {
    return on_call_(method, request);
  }

 private:
  static absl::Status NotOffered() { return absl::UnimplementedError("the client doesn't offer this"); }

  const std::string id_;
  const OnCall on_call_;
};

// Knows one session.
class FakeHub final : public session::SessionHub {
 public:
  FakeHub(std::string id, FakeSession::OnCall on_call) : session_(std::make_shared<FakeSession>(std::move(id), std::move(on_call))) {}
  absl::Status Serve(session::SessionMetadata, session::ByteStream&) override { return absl::UnimplementedError("no streams here"); }
  absl::StatusOr<session::SessionPtr> Find(const std::string& id, absl::Duration, const CancelToken&) override {
    if (id != session_->id()) return absl::DeadlineExceededError("no active session for " + id);
    return session_;
  }

 private:
  const session::SessionPtr session_;
};

}  // namespace cachalot::daemon
