// Blobs for a content store of the client (containerd.services.content.v1): exports that are no tar stream.
#pragma once

#include <string>

#include "session/rpc/call.h"
#include "session/session.h"
#include "store/blobs.h"

namespace cachalot::session {

inline constexpr absl::string_view kContentWriteMethod = "/containerd.services.content.v1.Content/Write";

// Writes one blob of `blobs` into the client's store `store`; nothing travels when that has it.
absl::Status UploadContent(RpcConnection& connection, const std::string& store, const oci::Descriptor& blob, store::BlobStore& blobs,
                           const CancelToken& cancel);

}  // namespace cachalot::session
