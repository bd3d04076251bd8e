// The receiving end of the file tree protocol (fsutil).
//
// The sender walks its tree and sends PACKET_STAT per entry, an empty one at the end. The receiver answers with PACKET_REQ for
// each file whose data it wants, by the entry's index; PACKET_DATA brings it in pieces, an empty one ends a file. PACKET_FIN
// from the receiver and one back end the transfer. PACKET_ERR carries the text of an error in either direction.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "session/rpc/connection.h"
#include "session/session.h"

namespace cachalot::session {

// Holds all stats of a metadata-only transfer: each as its size in four bytes, little endian, then the message.
inline constexpr char kMetadataFile[] = ".fsutil-metadata";

struct ReceiveOptions {
  bool merge = false;                                            // what is in the directory besides stays; every file travels
  bool compare = true;                                           // false: every file travels
  std::optional<std::pair<std::uint32_t, std::uint32_t>> owner;  // uid and gid for all, instead of the sender's
  bool metadata_only = false;
  std::function<bool(const std::string& path)> wanted;  // with metadata_only: the entries that are made nevertheless
  std::function<void(const SyncStats&)> on_progress;    // now and then, and at the end
};

// Makes `dest` equal to the tree that comes in. Does not end the call.
absl::StatusOr<SyncStats> ReceiveTree(RpcStream& stream, const std::string& dest, const ReceiveOptions& options);

}  // namespace cachalot::session
