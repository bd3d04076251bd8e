#include "dockerfile/parse/directives.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"

namespace cachalot::dockerfile {
namespace {

constexpr std::size_t kMaxJsonBytes = 1 << 20;

// Splits `name = value`; false when the text has another form.
bool SplitAssignment(absl::string_view text, std::string* name, std::string* value) {
  std::size_t end = 0;
  while (end < text.size() && absl::ascii_isalnum(text[end])) ++end;
  if (end == 0 || !absl::ascii_isalpha(text[0])) return false;
  absl::string_view rest = absl::StripLeadingAsciiWhitespace(text.substr(end));
  if (!absl::ConsumePrefix(&rest, "=")) return false;
  rest = absl::StripAsciiWhitespace(rest);
  if (rest.empty()) return false;
  *name = absl::AsciiStrToLower(text.substr(0, end));
  *value = std::string(rest);
  return true;
}

// The next line without its line end; `text` moves behind it.
absl::string_view TakeLine(absl::string_view* text) {
  const std::size_t end = text->find('\n');
  absl::string_view line = text->substr(0, end);
  text->remove_prefix(end == absl::string_view::npos ? text->size() : end + 1);
  absl::ConsumeSuffix(&line, "\r");
  return line;
}

std::optional<Directive> Find(absl::string_view name, absl::string_view text, DirectiveReader reader) {
  while (!text.empty() && !reader.done()) {
    const absl::StatusOr<std::optional<Directive>> directive = reader.Read(TakeLine(&text));
    if (!directive.ok()) return std::nullopt;
    if (directive->has_value() && (*directive)->name == name) return *directive;
  }
  return std::nullopt;
}

int SkipShebang(absl::string_view* text) {
  *text = WithoutByteOrderMark(*text);
  if (!absl::StartsWith(*text, "#!")) return 0;
  TakeLine(text);
  return 1;
}

}  // namespace

absl::StatusOr<std::optional<Directive>> DirectiveReader::Read(absl::string_view line) {
  ++line_;
  Directive directive;
  directive.line = line_;
  if (done_ || !absl::ConsumePrefix(&line, mark_) || !SplitAssignment(absl::StripLeadingAsciiWhitespace(line), &directive.name, &directive.value) ||
      (directive.name != "syntax" && directive.name != "escape" && directive.name != "check")) {
    done_ = true;
    return std::nullopt;
  }
  if (!seen_.insert(directive.name).second) {
    return absl::InvalidArgumentError(absl::StrCat("only one ", directive.name, " parser directive can be used"));
  }
  return directive;
}

absl::string_view WithoutByteOrderMark(absl::string_view text) {
  absl::ConsumePrefix(&text, "\xEF\xBB\xBF");
  return text;
}

std::optional<Directive> FindDirective(absl::string_view name, absl::string_view text) {
  const int skipped = SkipShebang(&text);
  return Find(name, text, DirectiveReader("#", skipped));
}

std::optional<Directive> FindSyntax(absl::string_view text) {
  const int skipped = SkipShebang(&text);
  if (std::optional<Directive> directive = Find("syntax", text, DirectiveReader("#", skipped))) return directive;
  if (std::optional<Directive> directive = Find("syntax", text, DirectiveReader("//", skipped))) return directive;
  if (!absl::StartsWith(absl::StripLeadingAsciiWhitespace(text), "{") || text.size() > kMaxJsonBytes) return std::nullopt;
  const nlohmann::json json = nlohmann::json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  const auto member = json.find("syntax");
  if (member == json.end() || !member->is_string()) return std::nullopt;
  return Directive{"syntax", member->get<std::string>(), skipped};
}

}  // namespace cachalot::dockerfile
