#include "session/attached.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "buildkit/exporter.pb.h"
#include "buildkit/secrets.pb.h"
#include "buildkit/ssh.pb.h"
#include "buildkit/upload.pb.h"
#include "session/content_store.h"
#include "session/content_upload.h"
#include "session/credentials.h"
#include "session/output_file.h"
#include "session/ssh_socket.h"

namespace cachalot::session {
namespace {

constexpr absl::Duration kUnaryTimeout = absl::Minutes(5);

}  // namespace

AttachedSession::AttachedSession(SessionMetadata metadata)
    : metadata_(std::move(metadata)), connection_(RpcConnection::Create(RpcConnection::Role::kCalls)), credentials_(SessionCredentials(connection_)) {
  for (const std::string& method : metadata_.methods) {
    methods_.insert(absl::AsciiStrToLower(method));
  }
  next_check_ = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(metadata_.health_interval);
}

absl::Status AttachedSession::Run(ByteStream& stream) {
  const absl::Status status = connection_->Run(stream);
  gone_.Cancel(absl::UnavailableError(absl::StrCat("session ", id(), " is gone")));
  return status;
}

void AttachedSession::CheckHealth(std::chrono::steady_clock::time_point now) {
  absl::Status failure;
  if (!health_call_.has_value()) {
    if (now < next_check_) {
      return;
    }
    auto call = RpcCall::Start(*connection_, "/grpc.health.v1.Health/Check", {}, CancelToken());
    if (!call.ok()) {
      return;  // the session is ending
    }
    (*call)->Write("").IgnoreError();
    (*call)->CloseWrite();
    health_call_ = *std::move(call);
    check_deadline_ = now + absl::ToChronoNanoseconds(metadata_.health_timeout);
    return;
  }
  if ((*health_call_)->ended()) {
    failure = (*health_call_)->Finish();
  } else if (now >= check_deadline_) {
    failure = absl::DeadlineExceededError("context deadline exceeded");
  } else {
    return;
  }
  health_call_.reset();
  next_check_ = now + absl::ToChronoNanoseconds(metadata_.health_interval);
  // A client that does not serve the check has answered nevertheless.
  failures_ = failure.ok() || absl::IsUnimplemented(failure) ? 0 : failures_ + 1;
  if (failures_ >= metadata_.health_failures) {
    LogWarning("session ", id(), ": healthcheck failed fatally: ", failure.message());
    connection_->Close(absl::UnavailableError(absl::StrCat("session healthcheck failed fatally: ", failure.message())));
  }
}

bool AttachedSession::Offers(absl::string_view method) const { return methods_.count(absl::AsciiStrToLower(method)) > 0; }

absl::Status AttachedSession::NeedsMethod(absl::string_view method) const {
  return Offers(method) ? absl::OkStatus() : absl::UnimplementedError(absl::StrCat("method ", method, " not supported by the client"));
}

absl::StatusOr<std::string> AttachedSession::Call(absl::string_view method, absl::string_view request, absl::Duration timeout,
                                                  const CancelToken& cancel) {
  return CallUnary(*connection_, method, request, cancel, timeout);
}

absl::Status AttachedSession::UploadBlob(const std::string& store, const oci::Descriptor& blob, store::BlobStore& blobs, const CancelToken& cancel) {
  RETURN_IF_ERROR(NeedsMethod(kContentWriteMethod));
  return UploadContent(*connection_, store, blob, blobs, cancel);
}

absl::StatusOr<std::string> AttachedSession::Secret(const std::string& id, const CancelToken& cancel) {
  moby::buildkit::secrets::v1::GetSecretRequest request;
  request.set_id(id);
  auto response = CallUnary<moby::buildkit::secrets::v1::GetSecretResponse>(*connection_, "/moby.buildkit.secrets.v1.Secrets/GetSecret", request,
                                                                            cancel, kUnaryTimeout);
  if (absl::IsNotFound(response.status()) || absl::IsUnimplemented(response.status())) {
    return absl::NotFoundError(absl::StrCat("secret ", id, ": not found"));
  }
  RETURN_IF_ERROR(response.status());
  return std::move(*response->mutable_data());
}

absl::Status AttachedSession::CheckSshAgent(const std::string& id, const CancelToken& cancel) {
  moby::sshforward::v1::CheckAgentRequest request;
  request.set_id(id);
  return CallUnary<moby::sshforward::v1::CheckAgentResponse>(*connection_, "/moby.sshforward.v1.SSH/CheckAgent", request, cancel, kUnaryTimeout)
      .status();
}

absl::StatusOr<std::unique_ptr<Session::SshSocket>> AttachedSession::ForwardSsh(const std::string& id, std::uint32_t uid, std::uint32_t gid,
                                                                                std::uint32_t mode) {
  return OpenSshSocket(connection_, id, uid, gid, mode);
}

absl::StatusOr<std::unique_ptr<ByteSink>> AttachedSession::OpenOutputFile(const std::map<std::string, std::string>& metadata, int exporter_id,
                                                                          const CancelToken& cancel) {
  RETURN_IF_ERROR(NeedsMethod(kFileSendMethod));
  return OpenSessionOutputFile(*connection_, metadata, exporter_id, cancel);
}

absl::Status AttachedSession::PullUpload(const std::string& url_path, const std::function<absl::Status(absl::string_view)>& sink,
                                         const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const RpcCall call,
                   RpcCall::Start(*connection_, "/moby.upload.v1.Upload/Pull", {{"urlpath", url_path}, {"urlhost", "buildkit-session"}}, cancel));
  moby::upload::v1::BytesMessage message;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, ReadMessage(*call, message));
    if (!more) {
      return call->Finish();
    }
    RETURN_IF_ERROR(sink(message.data()));
  }
}

absl::StatusOr<std::int64_t> AttachedSession::BlobSize(const std::string& store, const oci::Digest& digest, const CancelToken& cancel) {
  return StoredBlobSize(*connection_, store, digest, cancel);
}

absl::Status AttachedSession::ReadBlob(const std::string& store, const oci::Digest& digest,
                                       const std::function<absl::Status(absl::string_view)>& sink, const CancelToken& cancel) {
  return ReadStoredBlob(*connection_, store, digest, sink, cancel);
}

absl::StatusOr<std::vector<ExporterRequest>> AttachedSession::FindExporters(const std::map<std::string, std::string>& metadata,
                                                                            const std::vector<std::string>& refs, const CancelToken& cancel) {
  constexpr absl::string_view kMethod = "/moby.exporter.v1.Exporter/FindExporters";
  std::vector<ExporterRequest> exporters;
  if (!Offers(kMethod)) {
    return exporters;
  }
  moby::exporter::v1::FindExportersRequest request;
  request.mutable_metadata()->insert(metadata.begin(), metadata.end());
  request.mutable_refs()->Add(refs.begin(), refs.end());
  ASSIGN_OR_RETURN(const auto response, CallUnary<moby::exporter::v1::FindExportersResponse>(*connection_, kMethod, request, cancel, kUnaryTimeout));
  for (const auto& exporter : response.exporters()) {
    exporters.push_back({exporter.type(), {exporter.attrs().begin(), exporter.attrs().end()}});
  }
  return exporters;
}

absl::Status AttachedSession::FinalizeExport(const std::map<std::string, std::string>& exporter_response, const CancelToken& cancel) {
  constexpr absl::string_view kMethod = "/moby.exporter.v1.Exporter/FinalizeExport";
  if (!Offers(kMethod)) {
    return absl::OkStatus();
  }
  moby::exporter::v1::FinalizeExportRequest request;
  request.mutable_exporter_response()->insert(exporter_response.begin(), exporter_response.end());
  return CallUnary<moby::exporter::v1::FinalizeExportResponse>(*connection_, kMethod, request, cancel, kUnaryTimeout).status();
}

}  // namespace cachalot::session
