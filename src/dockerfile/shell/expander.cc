#include "dockerfile/shell/expander.h"

#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "dockerfile/shell/pattern.h"
#include "dockerfile/shell/quote.h"
#include "dockerfile/shell/rune.h"

namespace cachalot::dockerfile {
namespace {

constexpr int kMaxDepth = 100;

absl::Status SyntaxError(absl::string_view message) { return absl::InvalidArgumentError(message); }

absl::Status UnsupportedModifier(absl::string_view modifier) {
  return SyntaxError(absl::StrCat("unsupported modifier (", modifier, ") in substitution"));
}

// The words of a result, built while it is scanned.
class WordList {
 public:
  void AddUnquoted(absl::string_view text) {
    for (const char c : text) {
      if (!absl::ascii_isspace(c)) {
        word_.push_back(c);
      } else {
        Flush();
      }
    }
  }
  void AddQuoted(absl::string_view text) { absl::StrAppend(&word_, text); }
  std::vector<std::string> Take() {
    Flush();
    return std::move(words_);
  }

 private:
  void Flush() {
    if (!word_.empty()) words_.push_back(std::exchange(word_, {}));
  }

  std::string word_;
  std::vector<std::string> words_;
};

class Scanner {
 public:
  Scanner(const ExpandOptions& options, std::int64_t limit, absl::string_view text, const Environment& environment, Expansion* expansion)
      : options_(options), limit_(limit), raw_escapes_(options.raw_escapes), text_(text), environment_(environment), expansion_(expansion) {}

  absl::Status Run() {
    WordList words;
    ASSIGN_OR_RETURN(expansion_->text, ScanUntil('\0', raw_escapes_, &words));
    expansion_->words = words.Take();
    return absl::OkStatus();
  }

 private:
  bool AtEnd() const { return position_ >= text_.size(); }
  bool Sees(char c) const { return !AtEnd() && text_[position_] == c; }
  char Next() { return text_[position_++]; }

  absl::Status Append(std::string* result, absl::string_view piece) const {
    if (static_cast<std::int64_t>(result->size() + piece.size()) > limit_) {
      return absl::ResourceExhaustedError(absl::StrCat("the expanded value exceeds ", limit_, " bytes"));
    }
    absl::StrAppend(result, piece);
    return absl::OkStatus();
  }

  // Scans to `stop`, which is consumed, or to the end of the text when `stop` is NUL.
  absl::StatusOr<std::string> ScanUntil(char stop, bool raw_escapes, WordList* words) {
    if (++depth_ > kMaxDepth) return SyntaxError("substitutions are nested too deeply");
    const bool outer_raw_escapes = std::exchange(raw_escapes_, raw_escapes);
    std::string result;
    while (!AtEnd()) {
      if (stop != '\0' && Sees(stop)) {
        ++position_;
        break;
      }
      RETURN_IF_ERROR(ScanPiece(&result, words));
      if (AtEnd() && stop != '\0') {
        return SyntaxError(absl::StrCat("unexpected end of statement while looking for matching ", absl::string_view(&stop, 1)));
      }
    }
    raw_escapes_ = outer_raw_escapes;
    --depth_;
    return result;
  }

  absl::Status ScanPiece(std::string* result, WordList* words) {
    const char c = text_[position_];
    std::string piece;
    if (c == '$') {
      ASSIGN_OR_RETURN(piece, ScanDollar());
      if (words != nullptr) words->AddUnquoted(piece);
      return Append(result, piece);
    }
    if (c == '<') {
      piece = ScanHeredocMark();
    } else if (c == '\'' && !options_.skip_quotes) {
      ASSIGN_OR_RETURN(piece, ScanSingleQuoted());
    } else if (c == '"' && !options_.skip_quotes) {
      ASSIGN_OR_RETURN(piece, ScanDoubleQuoted());
    } else if (c == options_.escape) {
      ++position_;
      if (raw_escapes_) piece.push_back(c);
      if (!AtEnd()) piece.push_back(Next());
    } else {
      ++position_;
      if (words != nullptr) words->AddUnquoted(absl::string_view(&c, 1));
      return Append(result, absl::string_view(&c, 1));
    }
    if (words != nullptr) words->AddQuoted(piece);
    return Append(result, piece);
  }

  // `<<` with the blanks behind it is one word with what follows.
  std::string ScanHeredocMark() {
    ++position_;
    if (!Sees('<')) return "<";
    ++position_;
    std::string mark = "<<";
    while (Sees(' ') || Sees('\t') || Sees('\r')) mark.push_back(Next());
    return mark;
  }

  absl::StatusOr<std::string> ScanSingleQuoted() {
    const std::size_t end = text_.find('\'', position_ + 1);
    if (end == absl::string_view::npos) return SyntaxError("unexpected end of statement while looking for matching single-quote");
    const absl::string_view quoted = text_.substr(position_, end + 1 - position_);
    position_ = end + 1;
    return std::string(options_.raw_quotes ? quoted : quoted.substr(1, quoted.size() - 2));
  }

  absl::StatusOr<std::string> ScanDoubleQuoted() {
    std::string result;
    ++position_;
    if (options_.raw_quotes) result.push_back('"');
    while (!AtEnd()) {
      if (Sees('$')) {
        ASSIGN_OR_RETURN(const std::string value, ScanDollar());
        RETURN_IF_ERROR(Append(&result, value));
        continue;
      }
      char c = Next();
      if (c == '"') {
        if (options_.raw_quotes) result.push_back('"');
        return result;
      }
      if (c == options_.escape) {
        if (raw_escapes_) result.push_back(c);
        if (AtEnd()) break;
        if (Sees('"') || Sees('$') || Sees(options_.escape)) c = Next();
      }
      result.push_back(c);
    }
    return SyntaxError("unexpected end of statement while looking for matching double-quote");
  }

  // A name, a number, or one of the special parameters such as $@.
  std::string ScanName() {
    const std::size_t start = position_;
    if (!AtEnd() && absl::ascii_isdigit(text_[position_])) {
      while (!AtEnd() && absl::ascii_isdigit(text_[position_])) ++position_;
    } else if (!AtEnd() && absl::StrContains("@*#?-$!", text_.substr(position_, 1))) {
      ++position_;
    } else {
      position_ += NameLength(text_.substr(position_));
    }
    return std::string(text_.substr(start, position_ - start));
  }

  std::optional<std::string> LookUp(const std::string& name) {
    std::optional<std::string> value = environment_.Get(name);
    (value.has_value() ? expansion_->matched : expansion_->unmatched).insert(name);
    return value;
  }

  absl::StatusOr<std::string> ScanDollar() {
    ++position_;
    if (!Sees('{')) {
      const std::string name = ScanName();
      if (name.empty()) return std::string("$");
      const std::optional<std::string> value = LookUp(name);
      if (!value.has_value() && options_.skip_unset) return absl::StrCat("$", name);
      return value.value_or("");
    }
    ++position_;
    if (AtEnd()) return SyntaxError("syntax error: missing '}'");
    if (Sees('{') || Sees('}') || Sees(':')) return SyntaxError("syntax error: bad substitution");
    const std::string name = ScanName();
    if (AtEnd()) return UnsupportedModifier("\xEF\xBF\xBD");  // as the peer prints the end of its input
    const char modifier = Next();
    if (modifier == '}') {
      const std::optional<std::string> value = LookUp(name);
      if (!value.has_value() && options_.skip_unset) return absl::StrCat("${", name, "}");
      return value.value_or("");
    }
    if (modifier == '/') return ScanReplacement(name);
    return ScanModifier(name, modifier);
  }

  // The word between `${name<modifier>` and `}`.
  absl::StatusOr<std::string> ScanWord(char stop, bool raw_escapes, absl::string_view missing) {
    if (AtEnd()) return SyntaxError(missing);
    absl::StatusOr<std::string> word = ScanUntil(stop, raw_escapes, nullptr);
    if (!word.ok() && AtEnd() && !absl::IsResourceExhausted(word.status())) return SyntaxError(missing);
    return word;
  }

  absl::StatusOr<std::string> ScanModifier(const std::string& name, char modifier) {
    std::string modifier_text(1, modifier);
    const bool null_is_unset = modifier == ':';
    if (null_is_unset && !AtEnd()) modifier_text.push_back(modifier = Next());
    const bool is_pattern = modifier == '#' || modifier == '%';
    if (!absl::StrContains("+-?#%", absl::string_view(&modifier, 1)) || (null_is_unset && is_pattern)) return UnsupportedModifier(modifier_text);
    ASSIGN_OR_RETURN(std::string word, ScanWord('}', is_pattern, "syntax error: missing '}'"));
    const std::optional<std::string> value = LookUp(name);
    if (!value.has_value() && options_.skip_unset) return absl::StrCat("${", name, modifier_text, word, "}");
    const bool missing = !value.has_value() || (null_is_unset && value->empty());
    switch (modifier) {
      case '-': return missing ? word : *value;
      case '+': return missing ? std::string() : word;
      case '?': {
        if (!missing) return *value;
        if (word.empty()) word = value.has_value() ? "is not allowed to be empty" : "is not allowed to be unset";
        return SyntaxError(absl::StrCat(name, ": ", word));
      }
      default: {
        const bool longest = !word.empty() && word[0] == modifier;
        const absl::string_view pattern = absl::string_view(word).substr(longest ? 1 : 0);
        return modifier == '#' ? TrimPrefix(pattern, value.value_or(""), longest) : TrimSuffix(pattern, value.value_or(""), longest);
      }
    }
  }

  absl::StatusOr<std::string> ScanReplacement(const std::string& name) {
    const bool all = Sees('/');
    if (all) ++position_;
    ASSIGN_OR_RETURN(const std::string pattern, ScanWord('/', true, "syntax error: missing '/' in ${}"));
    ASSIGN_OR_RETURN(const std::string replacement, ScanWord('}', true, "syntax error: missing '}'"));
    const std::optional<std::string> value = LookUp(name);
    if (!value.has_value() && options_.skip_unset) return absl::StrCat("${", name, "/", pattern, "/", replacement, "}");
    return ReplacePattern(pattern, replacement, value.value_or(""), all, static_cast<std::size_t>(limit_));
  }

  const ExpandOptions& options_;
  const std::int64_t limit_;
  bool raw_escapes_;
  int depth_ = 0;
  const absl::string_view text_;
  std::size_t position_ = 0;
  const Environment& environment_;
  Expansion* const expansion_;
};

}  // namespace

absl::Status ExpansionBudget::Spend(std::int64_t bytes) {
  if ((total_bytes -= bytes) >= 0) return absl::OkStatus();
  return absl::ResourceExhaustedError("the expanded variables of this Dockerfile are too large altogether");
}

absl::StatusOr<Expansion> Expander::Expand(absl::string_view text, const Environment& environment) const {
  Expansion expansion;
  const std::int64_t limit = budget_ != nullptr ? budget_->word_bytes : ExpansionBudget().word_bytes;
  // A text longer than the bound may pass through as it is; it may not grow.
  const std::int64_t allowed = std::max<std::int64_t>(limit, static_cast<std::int64_t>(text.size()));
  absl::Status status = Scanner(options_, allowed, text, environment, &expansion).Run();
  if (status.ok() && budget_ != nullptr) status = budget_->Spend(static_cast<std::int64_t>(expansion.text.size()));
  if (!status.ok()) {
    constexpr std::size_t kShown = 4096;
    return Annotate(status, absl::StrCat("failed to process ", GoQuote(text.substr(0, kShown))));
  }
  return expansion;
}

}  // namespace cachalot::dockerfile
