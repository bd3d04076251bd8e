#include "policy/evaluator.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/value_of.h"

namespace cachalot::policy {
namespace {

constexpr int kMaxChanges = 20;  // a source that two rules turn into one another would go on for ever

}  // namespace

absl::StatusOr<Evaluator::PatternPtr> Evaluator::PatternOf(Match match, const std::string& text) {
  const std::string key = absl::StrCat(static_cast<int>(match), " ", text);
  {
    auto patterns = patterns_.Lock();
    const auto found = patterns->find(key);
    if (found != patterns->end()) return found->second;
  }
  ASSIGN_OR_RETURN(PatternPtr pattern, match == Match::kRegex ? Pattern::Regex(text) : Pattern::Wildcard(text));
  (*patterns_.Lock())[key] = pattern;
  return pattern;
}

absl::StatusOr<bool> Evaluator::HoldsFor(const Constraint& constraint, const Source& source) {
  const std::string value = ValueOf(source.attrs, constraint.key);
  switch (constraint.condition) {
    case Condition::kEqual: return value == constraint.value;
    case Condition::kNotEqual: return value != constraint.value;
    case Condition::kMatches: {
      const absl::StatusOr<PatternPtr> pattern = PatternOf(Match::kRegex, constraint.value);
      if (!pattern.ok()) return Annotate(pattern.status(), absl::StrCat("invalid regex \"", constraint.value, "\""));
      return (*pattern)->Matches(value);
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown attr condition: ", static_cast<int>(constraint.condition)));
}

absl::StatusOr<bool> Evaluator::Matches(const Selector& selector, const Source& source) {
  for (const Constraint& constraint : selector.constraints) {
    ASSIGN_OR_RETURN(const bool holds, HoldsFor(constraint, source));
    if (!holds) return false;
  }
  if (selector.identifier == source.identifier) return true;
  switch (selector.match) {
    case Match::kExact: return false;
    case Match::kRegex:
    case Match::kWildcard: {
      ASSIGN_OR_RETURN(const PatternPtr pattern, PatternOf(selector.match, selector.identifier));
      return pattern->Matches(source.identifier);
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown match type: ", static_cast<int>(selector.match)));
}

absl::StatusOr<bool> Evaluator::Convert(const Rule& rule, Source& source) {
  if (!rule.update.has_value()) return absl::InvalidArgumentError("missing destination for convert rule");
  std::string identifier = rule.update->identifier.empty() ? rule.selector.identifier : rule.update->identifier;
  if (rule.selector.match != Match::kExact) {
    ASSIGN_OR_RETURN(const PatternPtr pattern, PatternOf(rule.selector.match, rule.selector.identifier));
    identifier = pattern->Format(source.identifier, identifier);
  }
  bool changed = false;
  if (!identifier.empty() && identifier != source.identifier) {
    source.identifier = std::move(identifier);
    changed = true;
  }
  for (const auto& [name, value] : rule.update->attrs) {
    std::string& attr = source.attrs[name];
    changed = changed || attr != value;
    attr = value;
  }
  return changed;
}

absl::StatusOr<bool> Evaluator::ApplyOnce(const Policy& policy, Source& source) {
  bool denied = false;
  for (const Rule& rule : policy.rules) {
    const absl::StatusOr<bool> matches = Matches(rule.selector, source);
    if (!matches.ok()) return Annotate(matches.status(), "error matching source policy");
    if (!*matches) continue;
    if (rule.action == Action::kConvert) {
      const absl::StatusOr<bool> changed = Convert(rule, source);
      if (!changed.ok()) return Annotate(changed.status(), "error mutating source policy");
      if (*changed) return true;
    } else if (rule.action == Action::kAllow || rule.action == Action::kDeny) {
      denied = rule.action == Action::kDeny;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("source policy: rule ", static_cast<int>(rule.action), " ", rule.selector.identifier,
                                                     ": unknown type \"", source.identifier, "\""));
    }
  }
  if (!denied) return false;
  return absl::FailedPreconditionError(absl::StrCat("source \"", source.identifier, "\" denied by policy: source denied by policy"));
}

absl::StatusOr<bool> Evaluator::Apply(Source& source) {
  for (int changes = 0; changes <= kMaxChanges; ++changes) {
    bool changed = false;
    for (auto policy = policies_.begin(); policy != policies_.end() && !changed; ++policy) {
      ASSIGN_OR_RETURN(changed, ApplyOnce(*policy, source));
    }
    if (!changed) return changes > 0;
  }
  return absl::FailedPreconditionError("too many mutations on a single source: too many operations");
}

}  // namespace cachalot::policy
