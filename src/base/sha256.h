// SHA-256 of bytes in memory. For streams see codec/.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace cachalot {

// 64 lower-case hex digits.
std::string Sha256Hex(absl::string_view bytes);

}  // namespace cachalot
