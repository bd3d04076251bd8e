// One instruction of a Dockerfile as text: split, not yet understood.
#pragma once

#include <string>
#include <vector>

#include "dockerfile/parse/location.h"

namespace cachalot::dockerfile {

// A here-document: `<<NAME`, `<<-NAME`, `<<"NAME"`, with its lines.
struct Heredoc {
  std::string name;
  int file_descriptor = 0;
  bool expand = true;  // false when the name was quoted
  bool chomp = false;  // `<<-`: leading tabs are dropped
  std::string content;
};

// A NAME or NAME=value argument of ENV and LABEL.
struct KeyValue {
  std::string key;
  std::string value;
  bool delimited = true;  // false for the old form `ENV name value`
  friend bool operator==(const KeyValue&, const KeyValue&) = default;
};

struct Node {
  std::string keyword;  // as written
  std::vector<std::string> flags;
  std::vector<std::string> arguments;
  std::vector<KeyValue> pairs;  // the arguments of ENV and LABEL
  bool json = false;            // the arguments were a JSON array
  std::string original;         // the instruction on one line, continuations joined
  std::vector<Heredoc> heredocs;
  std::vector<std::string> comments;  // the comment lines right above
  Lines lines;
};

}  // namespace cachalot::dockerfile
