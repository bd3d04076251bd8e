#include "dockerfile/parse/arguments.h"

#include <functional>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "dockerfile/shell/quote.h"
#include "dockerfile/shell/rune.h"
#include "nlohmann/json.hpp"

namespace cachalot::dockerfile {
namespace {

bool IsBlank(char c) { return c == '\t' || c == '\v' || c == '\f' || c == '\r' || c == ' '; }

// The text up to the first run of blanks, and what is behind the run; false without blanks.
bool CutAtBlanks(absl::string_view text, absl::string_view* head, absl::string_view* tail) {
  std::size_t end = 0;
  while (end < text.size() && !IsBlank(text[end])) ++end;
  *head = text.substr(0, end);
  std::size_t next = end;
  while (next < text.size() && IsBlank(text[next])) ++next;
  *tail = text.substr(next);
  return next > end;
}

// Takes the words that start with "--" off the front of `*text`, resolving quotes and escapes.
std::vector<std::string> TakeFlags(absl::string_view* text, char escape) {
  std::vector<std::string> flags;
  for (;;) {
    absl::string_view rest = absl::StripLeadingAsciiWhitespace(*text);
    if (!absl::StartsWith(rest, "--")) {
      *text = rest;
      return flags;
    }
    std::string word;
    bool quoted_any = false;
    char quote = '\0';
    std::size_t i = 0;
    for (; i < rest.size(); ++i) {
      char c = rest[i];
      if (quote == '\0' && absl::ascii_isspace(c)) break;
      if (quote == '\0' && (c == '\'' || c == '"')) {
        quote = c;
        quoted_any = true;
        continue;
      }
      if (quote != '\0' && c == quote) {
        quote = '\0';
        continue;
      }
      if (c == escape) {
        if (i + 1 == rest.size()) continue;
        c = rest[++i];
      }
      word.push_back(c);
    }
    *text = rest.substr(i);
    if (word == "--") return flags;
    if (quoted_any || !word.empty()) flags.push_back(std::move(word));
  }
}

// Words separated by blanks; quotes keep blanks together and stay in the word, as do escapes.
std::vector<std::string> QuotedWords(absl::string_view text, char escape) {
  std::vector<std::string> words;
  std::string word;
  bool blank_ok = false;
  char quote = '\0';
  const auto flush = [&] {
    if (blank_ok || !word.empty()) words.push_back(std::exchange(word, {}));
    blank_ok = false;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == '\0' && absl::ascii_isspace(c)) {
      flush();
      continue;
    }
    if (c == escape && quote != '\'') {
      if (i + 1 == text.size()) break;
      word.push_back(c);
      word.push_back(text[++i]);
      continue;
    }
    if (quote == '\0' && (c == '\'' || c == '"')) {
      quote = c;
      blank_ok = true;
    } else if (c == quote) {
      quote = '\0';
    }
    word.push_back(c);
  }
  flush();
  return words;
}

enum class JsonForm { kNone, kStrings, kOther };

// As Go's decoder takes it: what is no Unicode (bytes that are no UTF-8, halves of surrogate pairs) becomes U+FFFD.
std::string ToUnicode(absl::string_view json) {
  std::string out = ToValidUtf8(json);
  const auto escaped = [&](std::size_t at) {  // the code unit of an escape such as \ud800, or 0
    unsigned unit = 0;
    return at + 6 <= out.size() && out[at] == '\\' && out[at + 1] == 'u' && absl::SimpleHexAtoi(out.substr(at + 2, 4), &unit) ? unit : 0;
  };
  for (std::size_t i = 0; i + 1 < out.size(); ++i) {
    if (out[i] != '\\') continue;
    const unsigned unit = escaped(i), next = escaped(i + 6);
    const bool pair = unit >= 0xD800 && unit < 0xDC00 && next >= 0xDC00 && next < 0xE000;
    if (!pair && unit >= 0xD800 && unit < 0xE000) out.replace(i, 6, "\\ufffd");
    i += pair ? 11 : unit > 0 ? 5 : 1;
  }
  return out;
}

JsonForm ReadJsonArray(absl::string_view text, std::vector<std::string>* strings) {
  if (!absl::StartsWith(text, "[")) return JsonForm::kNone;
  const nlohmann::json json = nlohmann::json::parse(ToUnicode(text), nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) return JsonForm::kNone;
  for (const nlohmann::json& element : json) {
    if (!element.is_string()) return JsonForm::kOther;
    strings->push_back(element.get<std::string>());
  }
  return JsonForm::kStrings;
}

absl::Status NotStrings() { return absl::InvalidArgumentError("when using JSON array syntax, arrays must be comprised of strings only"); }

using ArgumentParser = absl::Status (*)(absl::string_view, char, Node*);

absl::Status BlankSeparated(absl::string_view text, char, Node* node) {
  while (!text.empty()) {
    absl::string_view head;
    const bool more = CutAtBlanks(text, &head, &text);
    node->arguments.emplace_back(head);
    if (!more) break;
  }
  return absl::OkStatus();
}

absl::Status WholeText(absl::string_view text, char, Node* node) {
  if (!text.empty()) node->arguments.emplace_back(text);
  return absl::OkStatus();
}

absl::Status JsonOrText(absl::string_view text, char escape, Node* node) {
  std::vector<std::string> strings;
  const JsonForm form = ReadJsonArray(text, &strings);
  if (form == JsonForm::kOther) return NotStrings();
  if (form == JsonForm::kNone) return WholeText(text, escape, node);
  node->json = true;
  for (std::string& argument : strings) node->arguments.push_back(std::move(argument));
  return absl::OkStatus();
}

absl::Status JsonOrWords(absl::string_view text, char escape, Node* node) {
  std::vector<std::string> strings;
  const JsonForm form = ReadJsonArray(text, &strings);
  if (form == JsonForm::kOther) return NotStrings();
  if (form == JsonForm::kNone) return BlankSeparated(text, escape, node);
  node->json = true;
  node->arguments = std::move(strings);
  return absl::OkStatus();
}

absl::Status NamesOrAssignments(absl::string_view text, char escape, Node* node) {
  node->arguments = QuotedWords(text, escape);
  return absl::OkStatus();
}

absl::Status Assignments(absl::string_view text, char escape, Node* node) {
  const std::vector<std::string> words = QuotedWords(text, escape);
  if (words.empty()) return absl::OkStatus();
  if (!absl::StrContains(words[0], "=")) {
    absl::string_view name, value;
    if (!CutAtBlanks(text, &name, &value)) {
      return absl::InvalidArgumentError(absl::StrCat(absl::AsciiStrToUpper(node->keyword), " must have two arguments"));
    }
    node->pairs.push_back({std::string(name), std::string(value), /*delimited=*/false});
    return absl::OkStatus();
  }
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("Syntax error - can't find = in ", GoQuote(word), ". Must be of the form: name=value"));
    }
    node->pairs.push_back({word.substr(0, equals), word.substr(equals + 1)});
  }
  return absl::OkStatus();
}

absl::Status HealthCheck(absl::string_view text, char escape, Node* node) {
  if (text.empty()) return absl::OkStatus();
  absl::string_view type, command;
  CutAtBlanks(text, &type, &command);
  node->arguments.emplace_back(type);
  return JsonOrText(command, escape, node);
}

absl::Status Trigger(absl::string_view text, char escape, Node* node) {
  if (text.empty()) return absl::OkStatus();
  absl::string_view keyword, rest;
  CutAtBlanks(text, &keyword, &rest);
  if (absl::EqualsIgnoreCase(keyword, "onbuild")) {  // refused later; reading on would recurse without bound
    node->arguments.emplace_back(keyword);
    return absl::OkStatus();
  }
  Node triggered;
  RETURN_IF_ERROR(SplitInstruction(text, escape, &triggered));
  node->arguments.push_back(triggered.keyword);
  node->arguments.insert(node->arguments.end(), triggered.arguments.begin(), triggered.arguments.end());
  // What the trigger is decides about here-documents and the JSON form.
  node->json = triggered.json;
  return absl::OkStatus();
}

ArgumentParser ParserFor(absl::string_view keyword) {
  static const std::map<std::string, ArgumentParser>& parsers = *new std::map<std::string, ArgumentParser>{
      {"add", JsonOrWords},      {"arg", NamesOrAssignments}, {"cmd", JsonOrText},      {"copy", JsonOrWords},        {"entrypoint", JsonOrText},
      {"env", Assignments},      {"expose", BlankSeparated},  {"from", BlankSeparated}, {"healthcheck", HealthCheck}, {"label", Assignments},
      {"maintainer", WholeText}, {"onbuild", Trigger},        {"run", JsonOrText},      {"shell", JsonOrText},        {"stopsignal", WholeText},
      {"user", WholeText},       {"volume", JsonOrWords},     {"workdir", WholeText},
  };
  return ValueOf(parsers, absl::AsciiStrToLower(keyword));
}

}  // namespace

absl::Status SplitInstruction(absl::string_view line, char escape, Node* node) {
  node->original = std::string(line);
  absl::string_view keyword, rest;
  CutAtBlanks(absl::StripAsciiWhitespace(line), &keyword, &rest);
  node->keyword = std::string(keyword);
  node->flags = TakeFlags(&rest, escape);
  rest = absl::StripAsciiWhitespace(rest);
  const ArgumentParser parser = ParserFor(keyword);
  return parser == nullptr ? absl::OkStatus() : parser(rest, escape, node);
}

bool MayHaveHeredocs(const Node& node) {
  std::string keyword = absl::AsciiStrToLower(node.keyword);
  if (keyword == "onbuild" && !node.arguments.empty()) keyword = absl::AsciiStrToLower(node.arguments[0]);
  return !node.json && (keyword == "add" || keyword == "copy" || keyword == "run");
}

}  // namespace cachalot::dockerfile
