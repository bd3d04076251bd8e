// Build output that goes into a file of the client (moby.filesync.v1.FileSend).
#pragma once

#include <map>
#include <memory>
#include <string>

#include "session/rpc/call.h"
#include "session/session.h"

namespace cachalot::session {

inline constexpr absl::string_view kFileSendMethod = "/moby.filesync.v1.FileSend/DiffCopy";
// Call metadata: which of the client's outputs is meant, and what the exporter says of the file.
inline constexpr char kExporterIdHeader[] = "buildkit-attachable-exporter-id";
inline constexpr char kExporterMetadataPrefix[] = "exporter-md-";
// "1": one transfer carries all platforms, which a client that mirrors (mode=delete) insists on.
inline constexpr char kMultiPlatformHeader[] = "buildkit-exporter-multi-platform";

absl::StatusOr<std::unique_ptr<ByteSink>> OpenSessionOutputFile(RpcConnection& connection, const std::map<std::string, std::string>& metadata,
                                                                int exporter_id, const CancelToken& cancel);

}  // namespace cachalot::session
