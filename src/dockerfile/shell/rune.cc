#include "dockerfile/shell/rune.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "re2/re2.h"

namespace cachalot::dockerfile {
namespace {

bool IsSpace(std::uint32_t rune) {
  static constexpr std::uint32_t kSpaces[] = {' ', 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000};
  if ((rune >= '\t' && rune <= '\r') || (rune >= 0x2000 && rune <= 0x200A)) return true;
  return std::find(std::begin(kSpaces), std::end(kSpaces), rune) != std::end(kSpaces);
}

}  // namespace

std::size_t DecodeRune(absl::string_view text, std::uint32_t* rune) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  std::size_t length = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first >= 0x80 && (first < 0xC2 || first > 0xF4)) return 0;
  if (length > text.size()) return 0;
  *rune = length == 1 ? first : first & (0xFF >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    *rune = *rune << 6 | (byte(i) & 0x3F);
  }
  static constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (*rune < kSmallest[length] || *rune > 0x10FFFF || (*rune >= 0xD800 && *rune <= 0xDFFF)) return 0;
  return length;
}

std::size_t NameLength(absl::string_view text) {
  static const RE2 kName("[_\\p{L}\\p{Nd}]+");
  re2::StringPiece rest(text.data(), text.size());
  return RE2::Consume(&rest, kName) ? text.size() - rest.size() : 0;
}

absl::string_view StripLeadingSpace(absl::string_view text) {
  std::uint32_t rune = 0;
  while (!text.empty()) {
    const std::size_t length = DecodeRune(text, &rune);
    if (length == 0 || !IsSpace(rune)) break;
    text.remove_prefix(length);
  }
  return text;
}

std::string ToValidUtf8(absl::string_view text) {
  std::string out;
  while (!text.empty()) {
    std::uint32_t rune = 0;
    const std::size_t length = DecodeRune(text, &rune);
    absl::StrAppend(&out, length == 0 ? "\xEF\xBF\xBD" : text.substr(0, length));
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

}  // namespace cachalot::dockerfile
