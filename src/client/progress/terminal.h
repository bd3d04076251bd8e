// A small terminal: what a program's output looks like after its cursor movements, for the few lines shown beneath a running step.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cachalot::client::progress {

// Understands line feed, carriage return, backspace, tab, and the CSI sequences for moving the cursor and erasing; colours and
// other sequences are dropped. Scrolls at its lower end.
class Terminal {
 public:
  Terminal(int height, int width);
  void Write(absl::string_view data);
  // Keeps what fits; at least one line of six columns.
  void Resize(int height, int width);
  int width() const { return width_; }
  // The lines that are not blank, without spaces at their ends.
  std::vector<std::string> Lines() const;

 private:
  enum class State { kText, kEscape, kSequence, kString };

  void Put(char32_t character);
  void Control(char32_t character);
  void Sequence(char32_t final);
  void MoveTo(int row, int column);
  void Erase(int first_row, int first_column, int last_row, int last_column);

  int height_, width_;
  std::vector<std::u32string> rows_;
  int row_ = 0, column_ = 0;
  int saved_row_ = 0, saved_column_ = 0;
  State state_ = State::kText;
  std::string arguments_;   // of the sequence being read
  std::string incomplete_;  // the beginning of a character whose rest has not come yet
};

}  // namespace cachalot::client::progress
