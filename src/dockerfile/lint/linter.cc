#include "dockerfile/lint/linter.h"

#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/parse/directives.h"
#include "dockerfile/shell/quote.h"

namespace cachalot::dockerfile {
namespace {

void ReadRules(absl::string_view text, bool* all, std::set<std::string>* rules) {
  text = absl::StripAsciiWhitespace(text);
  if (text == "all") {
    *all = true;
    return;
  }
  for (const absl::string_view rule : absl::StrSplit(text, ',')) rules->emplace(absl::StripAsciiWhitespace(rule));
}

}  // namespace

absl::StatusOr<LintConfig> ParseLintOptions(absl::string_view options) {
  LintConfig config;
  options = absl::StripAsciiWhitespace(options);
  if (options.empty()) return config;
  for (const absl::string_view option : absl::StrSplit(options, absl::MaxSplits(';', 2))) {
    const std::size_t equals = option.find('=');
    if (equals == absl::string_view::npos) return absl::InvalidArgumentError(absl::StrCat("invalid check option ", GoQuote(option)));
    const absl::string_view name = absl::StripAsciiWhitespace(option.substr(0, equals));
    const absl::string_view value = absl::StripAsciiWhitespace(option.substr(equals + 1));
    if (name == "skip") {
      ReadRules(value, &config.skip_all, &config.skip);
    } else if (name == "experimental") {
      ReadRules(value, &config.experimental_all, &config.experimental);
    } else if (name == "error") {
      const std::optional<bool> flag = ParseBool(value);
      if (!flag.has_value()) {
        return absl::InvalidArgumentError(
            absl::StrCat("failed to parse check option ", GoQuote(option), ": strconv.ParseBool: parsing ", GoQuote(value), ": invalid syntax"));
      }
      config.findings_are_errors = *flag;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("invalid check option ", GoQuote(name)));
    }
  }
  return config;
}

void Linter::Report(const LintRule& rule, Lines lines, const std::string& message) const {
  if (sink_ == nullptr) return;
  const bool on = rule.experimental ? config_.experimental_all || config_.experimental.contains(std::string(rule.name))
                                    : !config_.skip_all && !config_.skip.contains(std::string(rule.name));
  if (!on) return;
  const std::lock_guard<std::mutex> lock(reported_->mutex);
  reported_->rules.emplace(rule.name);
  sink_(rule, message, lines);
}

Linter Linter::AdjustedBy(const std::vector<std::string>& comments) const {
  Linter adjusted = *this;
  for (const std::string& comment : comments) {
    const absl::StatusOr<std::optional<Directive>> directive = DirectiveReader("").Read(comment);
    if (!directive.ok() || !directive->has_value() || (*directive)->name != "check") continue;
    const std::string& value = (*directive)->value;
    const absl::StatusOr<LintConfig> config = ParseLintOptions(value.substr(0, value.find(' ')));
    if (!config.ok()) return adjusted;
    adjusted.config_.skip_all |= config->skip_all;
    adjusted.config_.experimental_all |= config->experimental_all;
    adjusted.config_.skip.insert(config->skip.begin(), config->skip.end());
    adjusted.config_.experimental.insert(config->experimental.begin(), config->experimental.end());
    return adjusted;
  }
  return adjusted;
}

absl::Status Linter::Verdict() const {
  if (!config_.findings_are_errors || reported_ == nullptr) return absl::OkStatus();
  const std::lock_guard<std::mutex> lock(reported_->mutex);
  if (reported_->rules.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("lint violation found for rules: ", absl::StrJoin(reported_->rules, ", ")));
}

}  // namespace cachalot::dockerfile
