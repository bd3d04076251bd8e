#include "session/content_upload.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/status.h"
#include "containerd/content.pb.h"
#include "session/content_store.h"

namespace cachalot::session {
namespace {

namespace content = containerd::services::content::v1;

// Clients refuse messages above 4 MiB.
constexpr std::size_t kChunk = 1 << 20;

// One request and its answer.
absl::StatusOr<content::WriteContentResponse> Exchange(RpcStream& call, const content::WriteContentRequest& request) {
  RETURN_IF_ERROR(WriteMessage(call, request));
  content::WriteContentResponse response;
  ASSIGN_OR_RETURN(const bool some, ReadMessage(call, response));
  if (some) return response;
  RETURN_IF_ERROR(call.Finish());
  return absl::DataLossError("the client's content store ended the call");
}

absl::Status ReadAt(int fd, std::int64_t offset, std::string& buffer) {
  std::size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t got = ::pread(fd, buffer.data() + done, buffer.size() - done, offset + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError("read blob");
    if (got == 0) return absl::DataLossError("blob is shorter than its size");
    done += static_cast<std::size_t>(got);
  }
  return absl::OkStatus();
}

absl::Status WriteContent(RpcStream& call, const oci::Descriptor& blob, int fd) {
  content::WriteContentRequest request;
  request.set_action(content::STAT);
  request.set_ref(absl::StrCat("cachalot-", blob.digest.str()));
  request.set_total(blob.size);
  request.set_expected(blob.digest.str());
  // An earlier try may have brought a part.
  ASSIGN_OR_RETURN(const content::WriteContentResponse begun, Exchange(call, request));
  std::int64_t offset = begun.offset();
  if (offset < 0 || offset > blob.size) return absl::DataLossError(absl::StrCat("the client's content store is at byte ", offset, " of ", blob.size));
  request.set_action(content::WRITE);
  while (offset < blob.size) {
    request.set_offset(offset);
    request.mutable_data()->resize(static_cast<std::size_t>(std::min<std::int64_t>(kChunk, blob.size - offset)));
    RETURN_IF_ERROR(ReadAt(fd, offset, *request.mutable_data()));
    RETURN_IF_ERROR(Exchange(call, request).status());
    offset += static_cast<std::int64_t>(request.data().size());
  }
  request.clear_data();
  request.set_offset(offset);
  request.set_action(content::COMMIT);
  return Exchange(call, request).status();
}

}  // namespace

absl::Status UploadContent(RpcConnection& connection, const std::string& store, const oci::Descriptor& blob, store::BlobStore& blobs,
                           const CancelToken& cancel) {
  RETURN_IF_ERROR(CheckStoreName(store));
  ASSIGN_OR_RETURN(const UniqueFd fd, blobs.Open(blob.digest));
  ASSIGN_OR_RETURN(RpcCall call, RpcCall::Start(connection, kContentWriteMethod, {{kContentStoreHeader, store}}, cancel));
  const absl::Status status = WriteContent(*call, blob, fd.get());
  return absl::IsAlreadyExists(status) ? absl::OkStatus() : status;
}

}  // namespace cachalot::session
