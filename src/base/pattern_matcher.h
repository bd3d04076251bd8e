// Path patterns: Go's filepath.Match, and lists of patterns as .dockerignore and BuildKit's include/exclude lists use them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot {

// A compiled pattern. Matching takes time linear in the path, whatever the pattern. Thread-safe.
class PathPattern {
 public:
  enum class Dialect {
    kGlob,       // *, ?, [set], \escape: Go's filepath.Match
    kRecursive,  // and ** for any number of directories: moby's patternmatcher
  };
  // INVALID_ARGUMENT "syntax error in pattern" for an unfinished set or escape.
  static absl::StatusOr<PathPattern> Parse(absl::string_view text, Dialect dialect);

  bool Matches(absl::string_view path) const;
  const std::string& text() const { return text_; }

 private:
  enum class Kind { kExact, kPrefix, kSuffix, kTokens };
  enum class TokenKind : std::uint8_t { kLiteral, kAny, kSet, kStar, kDirsEntry, kDirs, kRest };
  struct Range {
    char32_t low, high;
  };
  struct Token {
    explicit Token(TokenKind k, char32_t r = 0) : kind(k), rune(r) {}
    TokenKind kind;
    char32_t rune;
    bool negated = false;
    std::vector<Range> ranges;
  };

  absl::Status Compile(Dialect dialect);
  absl::Status CompileStars(Dialect dialect, std::size_t* at);
  absl::Status CompileSet(std::size_t* at);
  bool MatchesTokens(absl::string_view path) const;
  void Enter(std::size_t state, std::vector<char>& states) const;

  std::string text_;
  std::string literal_;  // of kExact, kPrefix and kSuffix
  Kind kind_ = Kind::kExact;
  std::vector<Token> tokens_;
};

// Whether `path` matches `pattern` as Go's filepath.Match(pattern, path) says.
absl::StatusOr<bool> MatchGlob(absl::string_view pattern, absl::string_view path);
// Whether `text` has an unescaped *, ? or [.
bool HasWildcards(absl::string_view text);

// An ordered list of patterns; the last that matches a path, or one of its parents, decides. A leading "!" makes a pattern
// an exception. Blank patterns are dropped. Paths are relative and clean ("a/b"). Thread-safe.
class PatternMatcher {
 public:
  // One flag per pattern: whether it matched a directory or one of its parents. Empty: unknown.
  using ParentMatches = std::vector<char>;

  static absl::StatusOr<PatternMatcher> Create(const std::vector<std::string>& patterns);

  // Considers the path and all its parents.
  bool Matches(absl::string_view path) const;
  // The same for a walk: `parent` is what this call gave for the path's directory (empty for the top); `matches`, when not
  // null, receives the flags for the path's own children.
  bool Matches(absl::string_view path, const ParentMatches& parent, ParentMatches* matches) const;

  struct Entry {
    PathPattern pattern;
    bool exception = false;
  };
  const std::vector<Entry>& entries() const { return entries_; }
  bool has_exceptions() const { return has_exceptions_; }

 private:
  std::vector<Entry> entries_;
  bool has_exceptions_ = false;
};

}  // namespace cachalot
