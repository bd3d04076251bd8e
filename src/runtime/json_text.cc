#include "runtime/json_text.h"

namespace cachalot::runtime {

void AppendQuoted(std::string& json, absl::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  json += '"';
  for (char c : text) {
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      json += "\\u00";
      json += kHex[c >> 4];
      json += kHex[c & 15];
    } else {
      json += c;
    }
  }
  json += '"';
}

void AppendQuotedList(std::string& json, const std::vector<std::string>& texts) {
  json += '[';
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) json += ',';
    AppendQuoted(json, texts[i]);
  }
  json += ']';
}

}  // namespace cachalot::runtime
