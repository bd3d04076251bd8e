// Reading the content stores that a client offers in its session (containerd's content API).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "oci/digest.h"
#include "session/rpc/call.h"

namespace cachalot::session {

// Call metadata: which of the client's stores is meant.
inline constexpr char kContentStoreHeader[] = "buildkit-attachable-store-id";
// INVALID_ARGUMENT for a store's name that cannot travel as call metadata.
absl::Status CheckStoreName(const std::string& store);

// Both fail with NOT_FOUND when the client has no such store or blob.
absl::StatusOr<std::int64_t> StoredBlobSize(RpcConnection& connection, const std::string& store, const oci::Digest& digest,
                                            const CancelToken& cancel);
absl::Status ReadStoredBlob(RpcConnection& connection, const std::string& store, const oci::Digest& digest,
                            const std::function<absl::Status(absl::string_view)>& sink, const CancelToken& cancel);

}  // namespace cachalot::session
