#include "policy/pattern.h"

#include <re2/re2.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace cachalot::policy {
namespace {

using Groups = std::vector<re2::StringPiece>;

re2::StringPiece Piece(absl::string_view text) { return re2::StringPiece(text.data(), text.size()); }

// Takes a reference ("name", "{name}") off the front of `rest`; nothing when there is none.
std::optional<absl::string_view> TakeName(absl::string_view& rest) {
  const bool braced = !rest.empty() && rest[0] == '{';
  const absl::string_view text = rest.substr(braced ? 1 : 0);
  const auto is_word = [](char c) { return absl::ascii_isalnum(c) || c == '_'; };
  const std::size_t length = std::find_if_not(text.begin(), text.end(), is_word) - text.begin();
  if (length == 0 || (braced && (length == text.size() || text[length] != '}'))) return std::nullopt;
  rest.remove_prefix(length + (braced ? 2 : 0));
  return text.substr(0, length);
}

// The group that a name refers to, -1 for none.
int GroupOf(const RE2& regexp, absl::string_view name) {
  int number = -1;
  if (absl::ascii_isdigit(name[0]) && (name.size() == 1 || name[0] != '0') && absl::SimpleAtoi(name, &number)) return number;
  const auto& names = regexp.NamedCapturingGroups();
  const auto found = names.find(std::string(name));
  return found == names.end() ? -1 : found->second;
}

void Expand(const RE2& regexp, const Groups& groups, absl::string_view replacement, std::string& out) {
  while (!replacement.empty()) {
    const std::size_t dollar = std::min(replacement.find('$'), replacement.size());
    absl::StrAppend(&out, replacement.substr(0, dollar));
    replacement.remove_prefix(dollar);
    if (replacement.empty()) return;
    replacement.remove_prefix(1);
    if (absl::StartsWith(replacement, "$")) {
      replacement.remove_prefix(1);
      out += '$';
      continue;
    }
    const std::optional<absl::string_view> name = TakeName(replacement);
    if (!name.has_value()) {
      out += '$';
      continue;
    }
    const int group = GroupOf(regexp, *name);
    if (group >= 0 && group < static_cast<int>(groups.size())) out.append(groups[group].data(), groups[group].size());
  }
}

class RegexPattern final : public Pattern {
 public:
  RegexPattern(const std::string& expression, bool whole) : regexp_(expression, RE2::Quiet), whole_(whole) {}
  bool ok() const { return regexp_.ok(); }
  const std::string& error() const { return regexp_.error(); }

  bool Matches(absl::string_view text) const override {
    return whole_ ? RE2::FullMatch(Piece(text), regexp_) : RE2::PartialMatch(Piece(text), regexp_);
  }

  std::string Format(absl::string_view text, absl::string_view replacement) const override {
    const re2::StringPiece input = Piece(text);
    Groups groups(regexp_.NumberOfCapturingGroups() + 1);
    std::string out;
    std::size_t from = 0, copied = 0;
    while (from <= input.size() &&
           regexp_.Match(input, from, input.size(), whole_ ? RE2::ANCHOR_BOTH : RE2::UNANCHORED, groups.data(), groups.size())) {
      const std::size_t begin = groups[0].data() - input.data();
      const std::size_t end = begin + groups[0].size();
      out.append(input.data() + copied, begin - copied);
      // An empty match right behind another one does not count.
      if (end > copied || begin == 0) Expand(regexp_, groups, replacement, out);
      copied = end;
      from = std::max(end, from + 1);
    }
    out.append(input.data() + copied, input.size() - copied);
    return out;
  }

 private:
  const RE2 regexp_;
  const bool whole_;
};

absl::StatusOr<std::shared_ptr<const Pattern>> Compile(const std::string& expression, bool whole) {
  auto pattern = std::make_shared<RegexPattern>(expression, whole);
  if (!pattern->ok()) return absl::InvalidArgumentError(absl::StrCat("error parsing regexp: ", pattern->error()));
  return pattern;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Pattern>> Pattern::Wildcard(absl::string_view text) {
  if (absl::StrContains(text, "**")) {
    return absl::InvalidArgumentError(absl::StrCat("failed to translate wildcard \"", text, "\" to regexp: invalid wildcard: \"**\""));
  }
  std::string expression;
  for (const absl::string_view part : absl::StrSplit(text, '*')) {
    if (part.data() != text.data()) expression += "(.*)";
    expression += RE2::QuoteMeta(Piece(part));
  }
  return Compile(expression, true);
}

absl::StatusOr<std::shared_ptr<const Pattern>> Pattern::Regex(absl::string_view text) { return Compile(std::string(text), false); }

}  // namespace cachalot::policy
