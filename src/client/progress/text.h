// Text as a terminal shows it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace cachalot::client::progress {

// Decodes the UTF-8 character at `*position` and moves on; a byte that is none decodes as U+FFFD.
char32_t NextCharacter(absl::string_view text, std::size_t* position);
void AppendCharacter(char32_t character, std::string* text);

// Columns that a character takes: 2 for East Asian wide ones and emoji, 0 for combining ones.
int ColumnsOf(char32_t character);
int ColumnsOf(absl::string_view text);
// The beginning of `text` that fits into `columns`.
std::string CutToColumns(absl::string_view text, int columns);
// `left`, filled up so that it ends with " " and `right` after `columns` columns.
std::string Align(absl::string_view left, absl::string_view right, int columns);
// Control characters become spaces: a name must not move the cursor.
std::string OneLine(absl::string_view text);

// "532B", "1.23kB", "2.81MB": decimal units, two digits.
std::string FormatBytes(std::int64_t bytes);

}  // namespace cachalot::client::progress
