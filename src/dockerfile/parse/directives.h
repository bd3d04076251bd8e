// Parser directives: `# name=value` comments at the very top of a file.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {

struct Directive {
  std::string name;  // in lower case: "syntax", "escape" or "check"
  std::string value;
  int line = 0;
};

// Reads directives line by line; the first line that is none ends them.
class DirectiveReader {
 public:
  explicit DirectiveReader(absl::string_view comment_mark = "#", int lines_before = 0) : mark_(comment_mark), line_(lines_before) {}

  // The directive on `line` (without its newline). An error when its name was used before.
  absl::StatusOr<std::optional<Directive>> Read(absl::string_view line);
  bool done() const { return done_; }

 private:
  std::string mark_;
  int line_;
  bool done_ = false;
  std::set<std::string> seen_;
};

// The directive `name` of a Dockerfile, if it has one. A byte order mark and a first line `#!...` are skipped.
std::optional<Directive> FindDirective(absl::string_view name, absl::string_view text);

// The value of a `syntax` directive in any of the three forms a file may have: `# syntax=`, `// syntax=` or a JSON object
// with the member "syntax".
std::optional<Directive> FindSyntax(absl::string_view text);

absl::string_view WithoutByteOrderMark(absl::string_view text);

}  // namespace cachalot::dockerfile
