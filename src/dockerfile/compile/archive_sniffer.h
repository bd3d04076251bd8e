// Telling archives from other files.
#pragma once

#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {

// Whether a file that begins with `head` is a tar archive, plain or compressed with gzip, bzip2 or xz.
bool LooksLikeArchive(absl::string_view head);

}  // namespace cachalot::dockerfile
