#include "dockerfile/shell/pattern.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace cachalot::dockerfile {
namespace {

// Matching costs pattern length times value length; this many steps take a fraction of a second.
constexpr std::int64_t kMaxSteps = 20'000'000;

struct Token {
  enum Kind { kLiteral, kAnyCharacter, kAnyText } kind;
  char literal = 0;
};

absl::StatusOr<std::vector<Token>> Compile(absl::string_view pattern) {
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '*') {
      if (tokens.empty() || tokens.back().kind != Token::kAnyText) tokens.push_back({Token::kAnyText});
    } else if (c == '?') {
      tokens.push_back({Token::kAnyCharacter});
    } else if (c != '\\') {
      tokens.push_back({Token::kLiteral, c});
    } else if (i + 1 < pattern.size() && absl::string_view("*?\\}/").find(pattern[i + 1]) != absl::string_view::npos) {
      tokens.push_back({Token::kLiteral, pattern[++i]});
    } else {
      const absl::string_view quoted = pattern.substr(i + 1, 1);
      return absl::InvalidArgumentError(absl::StrCat("invalid pattern (", pattern, ") in substitution: invalid escape '\\", quoted, "'"));
    }
  }
  return tokens;
}

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Runs the pattern over `value` from its start, all alternatives at once. Characters are UTF-8 sequences.
class Matcher {
 public:
  Matcher(const std::vector<Token>& tokens, std::int64_t* steps) : tokens_(tokens), steps_(steps) {}

  // The end of the shortest or longest match that begins at value[0].
  absl::StatusOr<std::optional<std::size_t>> Match(absl::string_view value, bool longest) {
    std::vector<char> active(tokens_.size() + 1, 0);
    Activate(&active, 0);
    std::optional<std::size_t> end;
    for (std::size_t i = 0;; ++i) {
      const bool boundary = i == value.size() || !IsContinuation(value[i]);
      if (active.back() != 0 && boundary) {
        end = i;
        if (!longest) return end;
      }
      if (i == value.size()) return end;
      if ((*steps_ -= static_cast<std::int64_t>(tokens_.size()) + 1) < 0) {
        return absl::ResourceExhaustedError("pattern substitution is too expensive");
      }
      if (!Advance(&active, value[i])) return end;
    }
  }

 private:
  void Activate(std::vector<char>* active, std::size_t state) {
    (*active)[state] = 1;
    if (state < tokens_.size() && tokens_[state].kind == Token::kAnyText) Activate(active, state + 1);
  }

  // False when no alternative is left.
  bool Advance(std::vector<char>* active, char c) {
    std::vector<char> next(tokens_.size() + 1, 0);
    bool any = false;
    for (std::size_t state = 0; state < next.size(); ++state) {
      if ((*active)[state] == 0) continue;
      // The bytes after the first of a character belong to the `?` before this state.
      if (IsContinuation(c) && state > 0 && tokens_[state - 1].kind == Token::kAnyCharacter) next[state] = any = true;
      if (state == tokens_.size()) continue;
      const Token& token = tokens_[state];
      if (token.kind == Token::kAnyText && c != '\n') {
        Activate(&next, state);
        any = true;
      } else if ((token.kind == Token::kLiteral && token.literal == c) || (token.kind == Token::kAnyCharacter && c != '\n' && !IsContinuation(c))) {
        Activate(&next, state + 1);
        any = true;
      }
    }
    active->swap(next);
    return any;
  }

  const std::vector<Token>& tokens_;
  std::int64_t* steps_;
};

// Characters in reverse order, each one's bytes kept together.
std::string Reverse(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::size_t end = text.size();
  while (end > 0) {
    std::size_t start = end - 1;
    while (start > 0 && IsContinuation(text[start])) --start;
    absl::StrAppend(&out, text.substr(start, end - start));
    end = start;
  }
  return out;
}

std::vector<Token> Reverse(const std::vector<Token>& tokens) {
  std::vector<Token> out;
  std::size_t end = tokens.size();
  while (end > 0) {
    std::size_t start = end - 1;
    while (start > 0 && tokens[start].kind == Token::kLiteral && IsContinuation(tokens[start].literal)) --start;
    out.insert(out.end(), tokens.begin() + start, tokens.begin() + end);
    end = start;
  }
  return out;
}

}  // namespace

absl::StatusOr<std::string> TrimPrefix(absl::string_view pattern, absl::string_view value, bool longest) {
  ASSIGN_OR_RETURN(const std::vector<Token> tokens, Compile(pattern));
  std::int64_t steps = kMaxSteps;
  ASSIGN_OR_RETURN(const std::optional<std::size_t> end, Matcher(tokens, &steps).Match(value, longest));
  return std::string(value.substr(end.value_or(0)));
}

absl::StatusOr<std::string> TrimSuffix(absl::string_view pattern, absl::string_view value, bool longest) {
  // Seen from the end, a suffix is a prefix.
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Compile(pattern));
  tokens = Reverse(tokens);
  const std::string reversed = Reverse(value);
  std::int64_t steps = kMaxSteps;
  ASSIGN_OR_RETURN(const std::optional<std::size_t> end, Matcher(tokens, &steps).Match(reversed, longest));
  return std::string(value.substr(0, value.size() - end.value_or(0)));
}

absl::StatusOr<std::string> ReplacePattern(absl::string_view pattern, absl::string_view replacement, absl::string_view value, bool all,
                                           std::size_t limit) {
  ASSIGN_OR_RETURN(const std::vector<Token> tokens, Compile(pattern));
  std::int64_t steps = kMaxSteps;
  Matcher matcher(tokens, &steps);
  std::string out;
  bool replaced = false;
  bool after_match = false;
  for (std::size_t i = 0; i <= value.size();) {
    std::optional<std::size_t> length;
    if (all || !replaced) {
      ASSIGN_OR_RETURN(length, matcher.Match(value.substr(i), /*longest=*/true));
    }
    if (length.has_value() && !(*length == 0 && after_match)) {
      absl::StrAppend(&out, replacement);
      replaced = true;
    }
    if (length.value_or(0) > 0) {
      i += *length;
      after_match = true;
    } else {
      if (i < value.size()) out.push_back(value[i]);
      ++i;
      while (i < value.size() && IsContinuation(value[i])) out.push_back(value[i++]);
      after_match = false;
    }
    if (out.size() > limit) return absl::ResourceExhaustedError(absl::StrCat("substitution result exceeds ", limit, " bytes"));
  }
  return out;
}

}  // namespace cachalot::dockerfile
