#include "session/content_store.h"

#include <algorithm>

#include "base/status.h"
#include "containerd/content.pb.h"

namespace cachalot::session {
namespace {

namespace wire = containerd::services::content::v1;

constexpr absl::Duration kInfoTimeout = absl::Minutes(1);

absl::Status Named(const absl::Status& status, const std::string& store, const oci::Digest& digest) {
  if (absl::IsUnimplemented(status)) return absl::NotFoundError(absl::StrCat("the client offers no content store ", store));
  return Annotate(status, absl::StrCat("blob ", digest.str(), " of the client's content store ", store));
}

}  // namespace

absl::Status CheckStoreName(const std::string& store) {
  const bool printable = std::all_of(store.begin(), store.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (printable) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("header key \"", kContentStoreHeader, "\" contains value with non-printable ASCII characters"));
}

absl::StatusOr<std::int64_t> StoredBlobSize(RpcConnection& connection, const std::string& store, const oci::Digest& digest,
                                            const CancelToken& cancel) {
  RETURN_IF_ERROR(CheckStoreName(store));
  ASSIGN_OR_RETURN(const RpcCall call,
                   RpcCall::Start(connection, "/containerd.services.content.v1.Content/Info", {{kContentStoreHeader, store}}, cancel, kInfoTimeout));
  wire::InfoRequest request;
  request.set_digest(digest.str());
  WriteMessage(*call, request).IgnoreError();  // the call's own end says more
  call->CloseWrite();
  wire::InfoResponse response;
  const absl::StatusOr<bool> some = ReadMessage(*call, response);
  if (!some.ok()) return Named(some.status(), store, digest);
  RETURN_IF_ERROR(Named(call->Finish(), store, digest));
  return response.info().size();
}

absl::Status ReadStoredBlob(RpcConnection& connection, const std::string& store, const oci::Digest& digest,
                            const std::function<absl::Status(absl::string_view)>& sink, const CancelToken& cancel) {
  RETURN_IF_ERROR(CheckStoreName(store));
  ASSIGN_OR_RETURN(const RpcCall call,
                   RpcCall::Start(connection, "/containerd.services.content.v1.Content/Read", {{kContentStoreHeader, store}}, cancel));
  wire::ReadContentRequest request;
  request.set_digest(digest.str());
  WriteMessage(*call, request).IgnoreError();
  call->CloseWrite();
  wire::ReadContentResponse chunk;
  while (true) {
    const absl::StatusOr<bool> more = ReadMessage(*call, chunk);
    if (!more.ok()) return Named(more.status(), store, digest);
    if (!*more) return Named(call->Finish(), store, digest);
    RETURN_IF_ERROR(sink(chunk.data()));
  }
}

}  // namespace cachalot::session
