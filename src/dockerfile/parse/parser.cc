#include "dockerfile/parse/parser.h"

#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "dockerfile/parse/arguments.h"
#include "dockerfile/parse/directives.h"
#include "dockerfile/parse/heredoc.h"
#include "dockerfile/shell/rune.h"

namespace cachalot::dockerfile {
namespace {

absl::string_view WithoutLineEnd(absl::string_view line) {
  while (absl::EndsWith(line, "\n") || absl::EndsWith(line, "\r")) line.remove_suffix(1);
  return line;
}

bool IsComment(absl::string_view line) { return absl::StartsWith(absl::StripLeadingAsciiWhitespace(line), "#"); }

class FileParser {
 public:
  explicit FileParser(absl::string_view text) : rest_(text) {}

  absl::StatusOr<File> Parse() {
    if (rest_.size() > kMaxFileBytes) {
      return absl::InvalidArgumentError(absl::StrCat("dockerfile greater than max allowed size of ", kMaxFileBytes));
    }
    while (TakeLine()) RETURN_IF_ERROR(ParseLine());
    if (file_.nodes.empty()) return AtLines(absl::InvalidArgumentError("file with no instructions"), Here());
    if (line_too_long_) {
      return AtLines(absl::InvalidArgumentError(absl::StrCat("dockerfile line greater than max allowed size of ", kMaxLineBytes - 1)), Here());
    }
    return std::move(file_);
  }

 private:
  Lines Here() const { return {number_, number_}; }

  // Moves to the next line, line end included. False at the end of the file or at a line that is too long.
  bool TakeLine() {
    if (rest_.empty() || line_too_long_) return false;
    const std::size_t end = rest_.find('\n');
    const std::size_t length = end == absl::string_view::npos ? rest_.size() : end + 1;
    line_too_long_ = length > kMaxLineBytes;
    if (line_too_long_) return false;
    line_ = rest_.substr(0, length);
    rest_.remove_prefix(length);
    if (number_ == 0) line_ = WithoutByteOrderMark(line_);
    ++number_;
    return true;
  }

  absl::Status ParseLine() {
    const absl::string_view text = StripLeadingSpace(WithoutLineEnd(line_));
    if (IsComment(line_)) {
      const std::string comment(absl::StripAsciiWhitespace(text.substr(1)));
      comment.empty() ? comments_.clear() : comments_.push_back(comment);
    }
    ASSIGN_OR_RETURN(const bool is_directive, ReadDirective(text));
    if (is_directive) comments_.pop_back();
    if (IsComment(text)) return absl::OkStatus();
    bool continues = false;
    std::string instruction(WithoutContinuation(text, &continues));
    if (!continues && instruction.empty()) return absl::OkStatus();
    const int first_line = number_;
    if (continues) RETURN_IF_ERROR(JoinContinuations(&instruction));
    absl::Status status = AddNode(instruction, first_line);
    return AtLines(std::move(status), {first_line, number_});
  }

  absl::StatusOr<bool> ReadDirective(absl::string_view text) {
    absl::StatusOr<std::optional<Directive>> directive = directives_.Read(text);
    if (!directive.ok()) return AtLines(directive.status(), Here());
    if (!directive->has_value()) return false;
    const Directive& found = **directive;
    if (found.name == "escape") {
      if (found.value != "`" && found.value != "\\") {
        return AtLines(absl::InvalidArgumentError(absl::StrCat("invalid escape token '", found.value, "' does not match ` or \\")), Here());
      }
      file_.escape = found.value[0];
    }
    return true;
  }

  // A line that ends in the escape character (blanks may follow), not preceded by another one, continues on the next line.
  absl::string_view WithoutContinuation(absl::string_view text, bool* continues) const {
    const absl::string_view stripped = text.substr(0, text.find_last_not_of(" \t") + 1);
    *continues =
        absl::EndsWith(stripped, absl::string_view(&file_.escape, 1)) && (stripped.size() == 1 || stripped[stripped.size() - 2] != file_.escape);
    return *continues ? stripped.substr(0, stripped.size() - 1) : text;
  }

  absl::Status JoinContinuations(std::string* instruction) {
    bool continues = true;
    bool has_empty_line = false;
    while (continues && TakeLine()) {
      const absl::string_view text = WithoutLineEnd(line_);
      RETURN_IF_ERROR(ReadDirective(text).status());
      if (IsComment(text)) continue;
      if (absl::StripAsciiWhitespace(text).empty()) {
        has_empty_line = true;
        continue;
      }
      absl::StrAppend(instruction, WithoutContinuation(text, &continues));
    }
    if (has_empty_line) file_.empty_continuations.push_back(number_);
    return absl::OkStatus();
  }

  absl::Status AddNode(absl::string_view instruction, int first_line) {
    if (file_.nodes.size() >= kMaxInstructions) return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxInstructions, " instructions"));
    if (absl::StrContains(instruction, '\0')) return absl::InvalidArgumentError("the instruction holds a null byte");
    Node node;
    RETURN_IF_ERROR(SplitInstruction(instruction, file_.escape, &node));
    node.comments = std::exchange(comments_, {});
    if (absl::StrContains(instruction, "<<") && MayHaveHeredocs(node)) {
      ASSIGN_OR_RETURN(node.heredocs, ParseHeredocs(instruction));
      for (Heredoc& heredoc : node.heredocs) RETURN_IF_ERROR(ReadHeredoc(&heredoc));
    }
    node.lines = {first_line, number_};
    file_.nodes.push_back(std::move(node));
    return absl::OkStatus();
  }

  absl::Status ReadHeredoc(Heredoc* heredoc) {
    while (TakeLine()) {
      absl::string_view text = WithoutLineEnd(line_);
      if (heredoc->chomp) text.remove_prefix(std::min(text.find_first_not_of('\t'), text.size()));
      if (text == heredoc->name) return absl::OkStatus();
      absl::StrAppend(&heredoc->content, line_);
    }
    return absl::InvalidArgumentError("unterminated heredoc");
  }

  absl::string_view rest_;
  absl::string_view line_;
  int number_ = 0;
  bool line_too_long_ = false;
  DirectiveReader directives_;
  std::vector<std::string> comments_;
  File file_;
};

}  // namespace

absl::StatusOr<File> ParseFile(absl::string_view text) { return FileParser(text).Parse(); }

}  // namespace cachalot::dockerfile
