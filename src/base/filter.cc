#include "base/filter.h"

#include <re2/re2.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace cachalot {

// In the form of Go's regexp package, and linear in time like it.
struct Filter::Regexp {
  explicit Regexp(const std::string& pattern) : compiled(pattern, RE2::Quiet) {}
  RE2 compiled;
};

class Filter::Parser {
 public:
  explicit Parser(const std::string& input) : input_(input) {}

  absl::StatusOr<std::vector<Selector>> Parse() {
    std::vector<Selector> selectors;
    do {
      ASSIGN_OR_RETURN(Selector selector, ParseSelector());
      selectors.push_back(std::move(selector));
    } while (Skip(','));
    SkipSpace();
    if (at_ < input_.size()) return Error(absl::StrCat("unexpected input: ", input_.substr(at_, 1)));
    return selectors;
  }

 private:
  absl::Status Error(const std::string& what) const {
    const std::string where =
        at_ < input_.size() ? absl::StrCat(input_.substr(0, at_), " >|", input_.substr(at_, 1), "|< ", input_.substr(at_ + 1)) : input_;
    return absl::InvalidArgumentError(absl::StrCat("filters: parse error: [", where, "]: ", what));
  }

  void SkipSpace() {
    while (at_ < input_.size() && absl::ascii_isspace(input_[at_])) ++at_;
  }
  bool Skip(char wanted) {
    SkipSpace();
    if (at_ == input_.size() || input_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  absl::StatusOr<Selector> ParseSelector() {
    Selector selector;
    do {
      ASSIGN_OR_RETURN(selector.field.emplace_back(), ParseField());
    } while (Skip('.'));
    SkipSpace();
    if (at_ == input_.size() || input_[at_] == ',') return selector;
    const std::string op = input_.substr(at_, 2);
    if (op == "==") {
      selector.op = Operator::kEqual;
    } else if (op == "!=") {
      selector.op = Operator::kNotEqual;
    } else if (op == "~=") {
      selector.op = Operator::kMatches;
    } else {
      return Error("expected an operator (\"==\"|\"!=\"|\"~=\")");
    }
    at_ += 2;
    SkipSpace();
    ASSIGN_OR_RETURN(selector.value, ParseValue(selector.op == Operator::kMatches));
    if (selector.op == Operator::kMatches) {
      selector.regexp = std::make_shared<Regexp>(selector.value);
      if (!selector.regexp->compiled.ok()) return Error(selector.regexp->compiled.error());
    }
    return selector;
  }

  absl::StatusOr<std::string> ParseField() {
    SkipSpace();
    if (at_ < input_.size() && (input_[at_] == '"' || input_[at_] == '\'')) return ParseQuoted();
    const std::size_t begin = at_;
    while (at_ < input_.size() && (input_[at_] == '_' || (at_ == begin ? absl::ascii_isalpha(input_[at_]) : absl::ascii_isalnum(input_[at_])))) ++at_;
    if (at_ == begin) return Error("expected field or quoted");
    return input_.substr(begin, at_ - begin);
  }

  absl::StatusOr<std::string> ParseValue(bool regexp) {
    if (at_ == input_.size()) return Error("expected value or quoted");
    const char first = input_[at_];
    if (first == '"' || first == '\'' || (regexp && (first == '/' || first == '|'))) return ParseQuoted();
    const std::size_t begin = at_;
    while (at_ < input_.size() && input_[at_] != ',' && !absl::ascii_isspace(input_[at_])) ++at_;
    if (at_ == begin) return Error("expected value or quoted");
    return input_.substr(begin, at_ - begin);
  }

  // Go's escapes in text; in a regular expression between slashes or bars only the delimiter is escaped.
  absl::StatusOr<std::string> ParseQuoted() {
    const char quote = input_[at_++];
    const bool raw = quote == '/' || quote == '|';
    std::string text;
    for (; at_ < input_.size() && input_[at_] != quote; ++at_) {
      if (input_[at_] != '\\' || at_ + 1 == input_.size()) {
        text += input_[at_];
        continue;
      }
      const char escaped = input_[++at_];
      if (escaped == quote) {
        text += quote;
      } else if (raw) {
        text += '\\';
        text += escaped;
      } else if (escaped == 'n') {
        text += '\n';
      } else if (escaped == 't') {
        text += '\t';
      } else if (escaped == '\\') {
        text += '\\';
      } else {
        return Error("illegal escape sequence");
      }
    }
    if (at_ == input_.size()) return Error("quoted literal not terminated");
    ++at_;
    return text;
  }

  const std::string& input_;
  std::size_t at_ = 0;
};

absl::StatusOr<Filter> Filter::Parse(const std::vector<std::string>& filters) {
  Filter filter;
  for (const std::string& text : filters) {
    if (text.empty()) {
      filter.alternatives_.emplace_back();
      continue;
    }
    ASSIGN_OR_RETURN(std::vector<Selector> selectors, Parser(text).Parse());
    filter.alternatives_.push_back(std::move(selectors));
  }
  return filter;
}

bool Filter::Matches(const Lookup& lookup) const {
  if (alternatives_.empty()) return true;
  return std::any_of(alternatives_.begin(), alternatives_.end(), [&](const std::vector<Selector>& selectors) {
    return std::all_of(selectors.begin(), selectors.end(), [&](const Selector& selector) { return Matches(selector, lookup); });
  });
}

bool Filter::Matches(const Selector& selector, const Lookup& lookup) {
  const std::optional<std::string> value = lookup(selector.field);
  switch (selector.op) {
    case Operator::kPresent: return value.has_value();
    case Operator::kEqual: return value == selector.value;
    case Operator::kNotEqual: return value.value_or("") != selector.value;
    case Operator::kMatches: return RE2::PartialMatch(value.value_or(""), selector.regexp->compiled);
  }
  return false;
}

}  // namespace cachalot
