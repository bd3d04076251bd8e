#include "dockerfile/parse/heredoc.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "dockerfile/shell/expander.h"

namespace cachalot::dockerfile {
namespace {

std::ptrdiff_t CountQuotes(absl::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return c == '"' || c == '\''; });
}

}  // namespace

absl::StatusOr<std::optional<Heredoc>> ParseHeredocWord(absl::string_view word) {
  std::size_t digits = 0;
  while (digits < word.size() && absl::ascii_isdigit(word[digits])) ++digits;
  absl::string_view rest = word.substr(digits);
  if (!absl::ConsumePrefix(&rest, "<<")) return std::nullopt;
  Heredoc heredoc;
  heredoc.chomp = absl::ConsumePrefix(&rest, "-");
  rest = absl::StripLeadingAsciiWhitespace(rest);
  if (rest.empty() || absl::StrContains(rest, "<")) return std::nullopt;
  if (digits > 0 && !absl::SimpleAtoi(word.substr(0, digits), &heredoc.file_descriptor)) heredoc.file_descriptor = 0;

  // Quotes that disappear when the name is read mean that the content is not expanded.
  const Variables none;
  ASSIGN_OR_RETURN(const Expansion plain, Expander({.skip_unset = true}).Expand(rest, none));
  if (plain.words.size() != 1) return std::nullopt;
  ASSIGN_OR_RETURN(const Expansion raw, Expander({.raw_quotes = true, .skip_unset = true}).Expand(rest, none));
  if (raw.words.size() != 1) return std::nullopt;
  heredoc.name = plain.words[0];
  heredoc.expand = CountQuotes(plain.words[0]) == CountQuotes(raw.words[0]);
  return heredoc;
}

std::optional<Heredoc> HeredocOfWord(absl::string_view word) {
  const absl::StatusOr<std::optional<Heredoc>> heredoc = ParseHeredocWord(word);
  return heredoc.ok() ? *heredoc : std::nullopt;
}

absl::StatusOr<std::vector<Heredoc>> ParseHeredocs(absl::string_view line) {
  std::vector<Heredoc> heredocs;
  // What the lexer cannot read has no here-documents; the instruction's own parser complains when it has to.
  const absl::StatusOr<Expansion> words = Expander({.raw_quotes = true, .raw_escapes = true, .skip_unset = true}).Expand(line, Variables());
  if (!words.ok()) return heredocs;
  for (const std::string& word : words->words) {
    ASSIGN_OR_RETURN(std::optional<Heredoc> heredoc, ParseHeredocWord(word));
    if (heredoc.has_value()) heredocs.push_back(*std::move(heredoc));
  }
  return heredocs;
}

std::string Chomp(absl::string_view content) {
  std::string out;
  bool line_start = true;
  for (const char c : content) {
    if (line_start && c == '\t') continue;
    out.push_back(c);
    line_start = c == '\n';
  }
  return out;
}

}  // namespace cachalot::dockerfile
