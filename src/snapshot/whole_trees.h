// Snapshots whose directory holds the whole tree, for file systems on which overlayfs cannot stack layers: nothing is mounted, a new
// snapshot begins as a copy of its parent.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "base/cancel.h"
#include "codec/stream.h"

namespace cachalot::snapshot {

// Copies what is in the directory `from` into the empty directory `to`, with owners, modes, times, extended attributes and hard links.
// Shares blocks where the file system can. Sockets are left out.
absl::Status CopyWholeTree(const std::string& from, const std::string& to, const CancelToken& cancel);

// Removes from the tree at `root` what a layer's archive hides of it by whiteouts. The archive is to be applied afterwards. Reads the stream
// to its end.
absl::Status RemoveHidden(codec::Source& archive, const std::string& root, const CancelToken& cancel);

}  // namespace cachalot::snapshot
