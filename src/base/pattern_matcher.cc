#include "base/pattern_matcher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status_macros.h"

namespace cachalot {

namespace {

constexpr std::size_t kMaxPattern = 4096;

absl::Status SyntaxError() { return absl::InvalidArgumentError("syntax error in pattern"); }

// Takes one UTF-8 character off `text` at `*at`. A byte that begins no character stands for itself.
char32_t NextRune(absl::string_view text, std::size_t* at) {
  const unsigned char first = text[(*at)++];
  int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : 0;
  if (more == 0 || *at + more > text.size()) return first;
  char32_t rune = first & (0x3F >> more);
  for (int i = 0; i < more; ++i) {
    const unsigned char next = text[*at + i];
    if ((next & 0xC0) != 0x80) return first;
    rune = (rune << 6) | (next & 0x3F);
  }
  *at += more;
  return rune;
}

}  // namespace

absl::StatusOr<PathPattern> PathPattern::Parse(absl::string_view text, Dialect dialect) {
  PathPattern pattern;
  pattern.text_ = std::string(text);
  RETURN_IF_ERROR(pattern.Compile(dialect));
  return pattern;
}

absl::Status PathPattern::Compile(Dialect dialect) {
  if (text_.size() > kMaxPattern) return absl::InvalidArgumentError(absl::StrCat("pattern of ", text_.size(), " bytes is too long"));
  literal_ = text_;
  for (std::size_t at = 0; at < text_.size();) {
    switch (text_[at]) {
      case '*': RETURN_IF_ERROR(CompileStars(dialect, &at)); break;
      case '?':
        ++at;
        tokens_.emplace_back(TokenKind::kAny);
        kind_ = Kind::kTokens;
        break;
      case '[':
        RETURN_IF_ERROR(CompileSet(&at));
        kind_ = Kind::kTokens;
        break;
      case '\\':
        if (++at == text_.size()) return SyntaxError();
        tokens_.emplace_back(TokenKind::kLiteral, NextRune(text_, &at));
        kind_ = Kind::kTokens;
        break;
      default: tokens_.emplace_back(TokenKind::kLiteral, NextRune(text_, &at));
    }
  }
  return absl::OkStatus();
}

absl::Status PathPattern::CompileStars(Dialect dialect, std::size_t* at) {
  const std::size_t begin = (*at)++;
  if (dialect == Dialect::kGlob || *at == text_.size() || text_[*at] != '*') {
    tokens_.emplace_back(TokenKind::kStar);
    kind_ = Kind::kTokens;
    return absl::OkStatus();
  }
  ++*at;
  if (*at < text_.size() && text_[*at] == '/') ++*at;
  if (*at == text_.size()) {  // "**" at the end covers all below, at any depth
    literal_ = text_.substr(0, begin);
    kind_ = begin == 0 ? Kind::kSuffix : kind_ == Kind::kExact ? Kind::kPrefix : Kind::kTokens;
    tokens_.emplace_back(TokenKind::kRest);
    return absl::OkStatus();
  }
  tokens_.emplace_back(TokenKind::kDirsEntry);
  tokens_.emplace_back(TokenKind::kDirs);
  kind_ = begin == 0 ? Kind::kSuffix : Kind::kTokens;
  // A leading "**" before plain text compares the end of the path, "/" included: "**/a" wants "/a", "**a" just "a".
  if (begin == 0) literal_ = text_.substr(2);
  return absl::OkStatus();
}

absl::Status PathPattern::CompileSet(std::size_t* at) {
  Token set(TokenKind::kSet);
  ++*at;
  if (*at < text_.size() && text_[*at] == '^') {
    set.negated = true;
    ++*at;
  }
  const auto member = [&]() -> absl::StatusOr<char32_t> {
    if (*at == text_.size() || text_[*at] == '-' || text_[*at] == ']') return SyntaxError();
    if (text_[*at] == '\\' && ++*at == text_.size()) return SyntaxError();
    return NextRune(text_, at);
  };
  while (set.ranges.empty() || *at == text_.size() || text_[*at] != ']') {
    ASSIGN_OR_RETURN(const char32_t low, member());
    char32_t high = low;
    if (*at < text_.size() && text_[*at] == '-') {
      ++*at;
      ASSIGN_OR_RETURN(high, member());
    }
    set.ranges.push_back({low, high});
  }
  ++*at;
  tokens_.push_back(std::move(set));
  return absl::OkStatus();
}

bool PathPattern::Matches(absl::string_view path) const {
  switch (kind_) {
    case Kind::kExact: return path == text_;
    case Kind::kPrefix: return absl::StartsWith(path, literal_);
    case Kind::kSuffix: return absl::EndsWith(path, literal_) || (absl::StartsWith(literal_, "/") && path == absl::string_view(literal_).substr(1));
    case Kind::kTokens: return MatchesTokens(path);
  }
  return false;
}

// Adds `state` and all that is reached from it without consuming a character.
void PathPattern::Enter(std::size_t state, std::vector<char>& states) const {
  if (states[state]) return;
  states[state] = 1;
  if (state == tokens_.size()) return;
  switch (tokens_[state].kind) {
    case TokenKind::kStar:
    case TokenKind::kRest: Enter(state + 1, states); break;
    case TokenKind::kDirsEntry:  // no directory at all, or into one
      Enter(state + 1, states);
      Enter(state + 2, states);
      break;
    default: break;
  }
}

// Simulates all ways through the tokens at once: no backtracking.
bool PathPattern::MatchesTokens(absl::string_view path) const {
  std::vector<char> now(tokens_.size() + 1, 0), next(tokens_.size() + 1, 0);
  Enter(0, now);
  for (std::size_t at = 0; at < path.size();) {
    const char32_t rune = NextRune(path, &at);
    std::fill(next.begin(), next.end(), 0);
    for (std::size_t state = 0; state < tokens_.size(); ++state) {
      if (!now[state]) continue;
      const Token& token = tokens_[state];
      switch (token.kind) {
        case TokenKind::kLiteral:
          if (rune == token.rune) Enter(state + 1, next);
          break;
        case TokenKind::kAny:
          if (rune != '/') Enter(state + 1, next);
          break;
        case TokenKind::kSet: {
          const bool in = std::any_of(token.ranges.begin(), token.ranges.end(), [&](const Range& r) { return r.low <= rune && rune <= r.high; });
          if (in != token.negated && rune != '/') Enter(state + 1, next);
          break;
        }
        case TokenKind::kStar:
          if (rune != '/') Enter(state, next);
          break;
        case TokenKind::kRest: Enter(state, next); break;
        case TokenKind::kDirs:
          Enter(state, next);
          if (rune == '/') Enter(state + 1, next);
          break;
        case TokenKind::kDirsEntry: break;
      }
    }
    now.swap(next);
  }
  return now[tokens_.size()];
}

absl::StatusOr<bool> MatchGlob(absl::string_view pattern, absl::string_view path) {
  ASSIGN_OR_RETURN(const PathPattern compiled, PathPattern::Parse(pattern, PathPattern::Dialect::kGlob));
  return compiled.Matches(path);
}

bool HasWildcards(absl::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '*' || text[i] == '?' || text[i] == '[') return true;
    if (text[i] == '\\') ++i;
  }
  return false;
}

absl::StatusOr<PatternMatcher> PatternMatcher::Create(const std::vector<std::string>& patterns) {
  PatternMatcher matcher;
  for (const std::string& raw : patterns) {
    absl::string_view trimmed = absl::StripAsciiWhitespace(raw);
    if (trimmed.empty()) continue;
    std::string clean = CleanPath(trimmed);
    Entry entry;
    if (clean[0] == '!') {
      if (clean.size() == 1) return absl::InvalidArgumentError("illegal exclusion pattern: \"!\"");
      entry.exception = matcher.has_exceptions_ = true;
      clean.erase(0, 1);
    }
    ASSIGN_OR_RETURN(entry.pattern, PathPattern::Parse(clean, PathPattern::Dialect::kRecursive));
    matcher.entries_.push_back(std::move(entry));
  }
  return matcher;
}

bool PatternMatcher::Matches(absl::string_view path) const { return Matches(path, {}, nullptr); }

bool PatternMatcher::Matches(absl::string_view path, const ParentMatches& parent, ParentMatches* matches) const {
  if (matches != nullptr) matches->assign(entries_.size(), 0);
  bool matched = false;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    bool match = !parent.empty() && parent[i];
    if (!match) {
      if (entry.exception != matched) continue;  // cannot change the outcome
      match = entry.pattern.Matches(path);
      for (std::size_t slash = path.find('/'); !match && parent.empty() && slash != absl::string_view::npos; slash = path.find('/', slash + 1)) {
        match = entry.pattern.Matches(path.substr(0, slash));
      }
    }
    if (matches != nullptr) (*matches)[i] = match;
    if (match) matched = !entry.exception;
  }
  return matched;
}

}  // namespace cachalot
