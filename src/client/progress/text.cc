#include "client/progress/text.h"

#include <cmath>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace cachalot::client::progress {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

struct Range {
  char32_t first, last;
};
constexpr Range kWide[] = {{0x1100, 0x115F}, {0x2E80, 0x303E}, {0x3041, 0xA4CF},   {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},
                           {0xFF00, 0xFF60}, {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1FAFF}, {0x20000, 0x3FFFD}};
constexpr Range kCombining[] = {{0x0300, 0x036F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}};

template <std::size_t n>
bool Contains(const Range (&ranges)[n], char32_t character) {
  for (const Range& range : ranges) {
    if (character >= range.first && character <= range.last) return true;
  }
  return false;
}

}  // namespace

char32_t NextCharacter(absl::string_view text, std::size_t* position) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte((*position)++);
  if (lead < 0x80) return lead;
  const int more = lead >= 0xF0 && lead < 0xF8 ? 3 : lead >= 0xE0 && lead < 0xF0 ? 2 : lead >= 0xC2 && lead < 0xE0 ? 1 : 0;
  if (more == 0 || *position + more > text.size()) return kReplacement;
  char32_t character = lead & (0x3F >> more);
  for (int i = 0; i < more; ++i) {
    if ((byte(*position + i) & 0xC0) != 0x80) return kReplacement;
    character = character << 6 | (byte(*position + i) & 0x3F);
  }
  *position += more;
  return character;
}

void AppendCharacter(char32_t character, std::string* text) {
  if (character < 0x80) {
    text->push_back(static_cast<char>(character));
    return;
  }
  const int more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
  constexpr unsigned char kLead[] = {0, 0xC0, 0xE0, 0xF0};
  text->push_back(static_cast<char>(kLead[more] | character >> (6 * more)));
  for (int i = more - 1; i >= 0; --i) text->push_back(static_cast<char>(0x80 | ((character >> (6 * i)) & 0x3F)));
}

int ColumnsOf(char32_t character) {
  if (character < 0x300) return 1;
  if (Contains(kCombining, character)) return 0;
  return Contains(kWide, character) ? 2 : 1;
}

int ColumnsOf(absl::string_view text) {
  int columns = 0;
  for (std::size_t position = 0; position < text.size();) columns += ColumnsOf(NextCharacter(text, &position));
  return columns;
}

std::string CutToColumns(absl::string_view text, int columns) {
  std::size_t end = 0;
  for (std::size_t position = 0; position < text.size(); end = position) {
    columns -= ColumnsOf(NextCharacter(text, &position));
    if (columns < 0) break;
  }
  return std::string(text.substr(0, end));
}

std::string Align(absl::string_view left, absl::string_view right, int columns) {
  const int fill = columns - ColumnsOf(right) - 1 - ColumnsOf(left);
  return absl::StrCat(left, std::string(fill > 0 ? fill : 0, ' '), " ", right);
}

std::string OneLine(absl::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return line;
}

std::string FormatBytes(std::int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (std::abs(value) >= 1000 && unit < 6) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? absl::StrCat(bytes, "B") : absl::StrFormat("%.2f%s", value, kUnits[unit]);
}

}  // namespace cachalot::client::progress
