// Unicode, as Go's functions see it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {

// The length of the valid UTF-8 sequence at the start of `text` (which is not empty), 0 when there is none; stores its code point.
std::size_t DecodeRune(absl::string_view text, std::uint32_t* rune);
// How many bytes at the start of `text` are letters, digits and underscores.
std::size_t NameLength(absl::string_view text);
absl::string_view StripLeadingSpace(absl::string_view text);
// With U+FFFD for each byte that is not part of valid UTF-8.
std::string ToValidUtf8(absl::string_view text);

}  // namespace cachalot::dockerfile
