// Unpacking a layer's tar archive into a directory that is one layer of an overlay mount.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "codec/stream.h"

namespace cachalot::snapshot {

inline constexpr char kWhiteoutPrefix[] = ".wh.";
inline constexpr char kOpaqueMarker[] = ".wh..wh..opq";
inline constexpr char kOpaqueXattr[] = "trusted.overlay.opaque";

// Unpacks into the empty directory `root`; whiteouts become overlayfs's where there is something to hide. Directories that the archive takes for
// granted get the attributes they have in `lowers` (topmost first). No path, link or device of the archive leads out of `root`. Reads the stream to
// its end. On error `root` is left half-filled.
absl::Status ApplyLayer(codec::Source& archive, const std::string& root, const std::vector<std::string>& lowers, const CancelToken& cancel);

}  // namespace cachalot::snapshot
