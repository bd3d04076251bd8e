#include "dockerfile/shell/quote.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "dockerfile/shell/rune.h"

namespace cachalot::dockerfile {
namespace {

bool IsPrintable(std::uint32_t rune) {
  if (rune < 0x20 || (rune >= 0x7F && rune <= 0xA0) || rune == 0xAD) return false;
  if (rune >= 0x2000 && rune <= 0x200F) return false;
  if (rune >= 0x2028 && rune <= 0x202F) return false;
  return rune != 0x3000 && rune != 0xFEFF;
}

void AppendRune(std::string* out, absl::string_view bytes, std::uint32_t rune) {
  static constexpr absl::string_view kNamed = "\a\b\f\n\r\t\v";
  static constexpr absl::string_view kNames = "abfnrtv";
  if (rune == '"' || rune == '\\') {
    absl::StrAppend(out, "\\", bytes);
  } else if (const auto named = rune < 0x20 ? kNamed.find(static_cast<char>(rune)) : absl::string_view::npos; named != absl::string_view::npos) {
    absl::StrAppend(out, "\\", kNames.substr(named, 1));
  } else if (IsPrintable(rune)) {
    absl::StrAppend(out, bytes);
  } else if (rune < 0x80) {
    absl::StrAppendFormat(out, "\\x%02x", rune);
  } else {
    rune > 0xFFFF ? absl::StrAppendFormat(out, "\\U%08x", rune) : absl::StrAppendFormat(out, "\\u%04x", rune);
  }
}

}  // namespace

std::string GoQuote(absl::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    std::uint32_t rune = 0;
    const std::size_t length = DecodeRune(text, &rune);
    if (length == 0) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(text[0]));
      text.remove_prefix(1);
      continue;
    }
    AppendRune(&out, text.substr(0, length), rune);
    text.remove_prefix(length);
  }
  out += '"';
  return out;
}

std::string GoQuote(const std::vector<std::string>& texts) {
  return absl::StrCat("[", absl::StrJoin(texts, " ", [](std::string* out, const std::string& text) { absl::StrAppend(out, GoQuote(text)); }), "]");
}

std::string GoList(const std::vector<std::string>& texts) { return absl::StrCat("[", absl::StrJoin(texts, " "), "]"); }

}  // namespace cachalot::dockerfile
