#include "client/progress/terminal.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/progress/text.h"

namespace cachalot::client::progress {
namespace {

constexpr int kTabWidth = 8;
constexpr std::size_t kMaxArguments = 64;  // bytes; longer sequences are no cursor movements

// How many bytes at the end of `data` begin a character without finishing it.
std::size_t UnfinishedBytes(absl::string_view data) {
  for (std::size_t back = 1; back <= 3 && back <= data.size(); ++back) {
    const unsigned char byte = data[data.size() - back];
    if (byte < 0x80) return 0;
    if (byte >= 0xC0) {
      const std::size_t needed = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
      return needed > back ? back : 0;
    }
  }
  return 0;
}

}  // namespace

Terminal::Terminal(int height, int width) : height_(std::max(height, 1)), width_(std::max(width, 6)) {
  rows_.assign(height_, std::u32string(width_, U' '));
}

void Terminal::Resize(int height, int width) {
  height_ = std::max(height, 1);
  width_ = std::max(width, 6);
  rows_.resize(height_);
  for (std::u32string& row : rows_) row.resize(width_, U' ');
  row_ = std::min(row_, height_);  // one below the last line: the next character scrolls
  column_ = std::min(column_, width_ - 1);
}

void Terminal::Write(absl::string_view data) {
  const std::string joined = absl::StrCat(incomplete_, data);
  const std::size_t unfinished = UnfinishedBytes(joined);
  const absl::string_view complete = absl::string_view(joined).substr(0, joined.size() - unfinished);
  for (std::size_t position = 0; position < complete.size();) {
    const char32_t character = NextCharacter(complete, &position);
    switch (state_) {
      case State::kText: character < 0x20 || character == 0x7F ? Control(character) : Put(character); break;
      case State::kEscape:
        arguments_.clear();
        state_ = character == '[' ? State::kSequence : character == ']' || character == 'P' ? State::kString : State::kText;
        if (character == '7' || character == '8') Sequence(character);
        break;
      case State::kSequence:
        if (character >= 0x40 && character <= 0x7E) {
          state_ = State::kText;
          Sequence(character);
        } else if (arguments_.size() < kMaxArguments) {
          AppendCharacter(character, &arguments_);
        }
        break;
      case State::kString:  // a title or the like: ends with BEL, or with an escape sequence of its own
        if (character == 0x07) state_ = State::kText;
        if (character == 0x1B) state_ = State::kEscape;
        break;
    }
  }
  incomplete_ = joined.substr(joined.size() - unfinished);
}

void Terminal::Put(char32_t character) {
  if (column_ >= width_) {
    column_ = 0;
    ++row_;
  }
  if (row_ >= height_) {
    std::rotate(rows_.begin(), rows_.begin() + 1, rows_.end());
    rows_.back().assign(width_, U' ');
    row_ = height_ - 1;
  }
  rows_[row_][column_++] = character;
}

void Terminal::Control(char32_t character) {
  switch (character) {
    case '\n':
      // Several empty lines scroll no further than one: what scrolled away would not be seen again.
      row_ = std::min(row_ + 1, height_);
      column_ = 0;
      break;
    case '\r': column_ = 0; break;
    case '\b': column_ = std::max(column_ - 1, 0); break;
    case '\t': do { Put(U' ');
      } while (column_ % kTabWidth != 0 && column_ < width_);
      break;
    case 0x1B: state_ = State::kEscape; break;
    default: break;
  }
}

void Terminal::MoveTo(int row, int column) {
  row_ = std::clamp(row, 0, height_ - 1);
  column_ = std::clamp(column, 0, width_ - 1);
}

void Terminal::Erase(int first_row, int first_column, int last_row, int last_column) {
  for (int row = std::max(first_row, 0); row <= std::min(last_row, height_ - 1); ++row) {
    for (int column = std::max(first_column, 0); column <= std::min(last_column, width_ - 1); ++column) rows_[row][column] = U' ';
  }
}

void Terminal::Sequence(char32_t final) {
  std::vector<int> numbers;
  for (absl::string_view part : absl::StrSplit(arguments_, ';')) {
    int number = 0;
    if (!absl::SimpleAtoi(part, &number) && !part.empty()) return;  // a private sequence
    numbers.push_back(std::clamp(number, 0, 10'000));
  }
  const int first = numbers[0];
  const int distance = std::max(first, 1);
  switch (final) {
    case 's':
    case '7': saved_row_ = row_, saved_column_ = column_; break;
    case 'u':
    case '8': MoveTo(saved_row_, saved_column_); break;
    case 'A': MoveTo(row_ - distance, column_); break;
    case 'B': MoveTo(row_ + distance, column_); break;
    case 'C': MoveTo(row_, column_ + distance); break;
    case 'D': MoveTo(row_, column_ - distance); break;
    case 'G': MoveTo(row_, distance - 1); break;
    case 'H':
    case 'f': MoveTo(distance - 1, numbers.size() > 1 ? numbers[1] - 1 : 0); break;
    case 'K': Erase(row_, first == 0 ? column_ : 0, row_, first == 1 ? column_ : width_ - 1); break;
    case 'J': Erase(first == 0 ? row_ : 0, 0, first == 1 ? row_ : height_ - 1, width_ - 1); break;
    default: break;
  }
}

std::vector<std::string> Terminal::Lines() const {
  std::vector<std::string> lines;
  for (const std::u32string& row : rows_) {
    const std::size_t end = row.find_last_not_of(U' ');
    if (end == std::u32string::npos) continue;
    std::string& line = lines.emplace_back();
    for (std::size_t i = 0; i <= end; ++i) AppendCharacter(row[i], &line);
  }
  return lines;
}

}  // namespace cachalot::client::progress
