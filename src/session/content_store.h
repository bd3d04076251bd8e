// Reading the content stores that a client offers in its session (containerd's content API).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "oci/digest.h"
#include "session/rpc/call.h"

namespace cachalot::session {

// Both fail with NOT_FOUND when the client has no such store or blob.
absl::StatusOr<std::int64_t> StoredBlobSize(RpcConnection& connection, const std::string& store, const oci::Digest& digest,
                                            const CancelToken& cancel);
absl::Status ReadStoredBlob(RpcConnection& connection, const std::string& store, const oci::Digest& digest,
                            const std::function<absl::Status(absl::string_view)>& sink, const CancelToken& cancel);

}  // namespace cachalot::session
