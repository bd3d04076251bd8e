#include "daemon/history_filter.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/filter.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "daemon/timestamps.h"

namespace cachalot::daemon {

namespace {

namespace control = moby::buildkit::v1;
using Record = control::BuildHistoryRecord;

// The fields of one line of comma-separated values; quotes are doubled within quoted ones.
absl::StatusOr<std::vector<std::string>> CsvFields(const std::string& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted) {
      if (c != '"') {
        fields.back() += c;
      } else if (i + 1 < line.size() && line[i + 1] == '"') {
        fields.back() += line[++i];
      } else {
        quoted = false;
      }
    } else if (c == ',') {
      fields.emplace_back();
    } else if (c == '"' && fields.back().empty()) {
      quoted = true;
    } else {
      fields.back() += c;
    }
  }
  if (quoted) return absl::InvalidArgumentError(absl::StrCat("failed to parse history filters ", line, ": a quote is not closed"));
  return fields;
}

std::string StatusOf(const Record& record) {
  if (!record.has_completedat()) return "running";
  if (!record.has_error()) return "completed";
  return absl::StrContains(record.error().message(), "context canceled") ? "canceled" : "error";
}

// The remote of a context that is a git repository's URL, without what is behind '#'.
std::optional<std::string> RepositoryOf(const Record& record) {
  const auto source = record.frontendattrs().find("vcs:source");
  if (source != record.frontendattrs().end()) return source->second;
  const auto context = record.frontendattrs().find("context");
  if (context == record.frontendattrs().end()) return std::nullopt;
  for (const char* scheme : {"https://", "http://", "git://", "ssh://", "git@"}) {
    if (absl::StartsWith(context->second, scheme)) return context->second.substr(0, context->second.find('#'));
  }
  return std::nullopt;
}

std::optional<std::string> FieldOf(const Record& record, const std::string& field) {
  if (field == "ref" && !record.ref().empty()) return record.ref();
  if (field == "status") return StatusOf(record);
  if (field == "repository") return RepositoryOf(record);
  return std::nullopt;
}

absl::StatusOr<absl::Time> ParseMoment(const std::string& text, absl::Time now) {
  absl::Duration before;
  if (absl::ParseDuration(text, &before)) return now - before;
  absl::Time moment;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &moment, &error)) return moment;
  return absl::InvalidArgumentError(absl::StrCat("invalid time ", text));
}

template <typename T>
bool Compare(const T& value, const std::string& op, const T& with) {
  if (op == ">=") return value >= with;
  if (op == "<=") return value <= with;
  return op == ">" ? value > with : value < with;
}

// What has not happened yet lies before everything.
absl::Time Moment(bool happened, const google::protobuf::Timestamp& time) {
  return happened ? absl::FromUnixSeconds(time.seconds()) : absl::UnixEpoch();
}

absl::Duration DurationOf(const Record& record) {
  return record.has_completedat() ? DecodeTime(record.completedat()) - DecodeTime(record.createdat()) : absl::ZeroDuration();
}

}  // namespace

absl::StatusOr<HistoryFilter::Condition> HistoryFilter::ParseComparison(const std::string& text, absl::Time now) {
  std::string op;
  std::size_t at = std::string::npos;
  for (const char* candidate : {">=", "<=", ">", "<"}) {
    at = text.find(candidate);
    op = candidate;
    if (at != std::string::npos) break;
  }
  if (at == std::string::npos) return Condition();
  const std::string key = text.substr(0, at);
  const std::string value = text.substr(at + op.size());
  if (key == "duration") {
    absl::Duration with;
    if (!absl::ParseDuration(value, &with)) return absl::InvalidArgumentError(absl::StrCat("invalid duration ", value));
    return [op, with](const Record& record) { return Compare(DurationOf(record), op, with); };
  }
  if (key != "startedAt" && key != "completedAt") return Condition();
  ASSIGN_OR_RETURN(const absl::Time moment, ParseMoment(value, now));
  const absl::Time with = absl::FromUnixSeconds(absl::ToUnixSeconds(moment));
  if (key == "startedAt") return [op, with](const Record& record) { return Compare(Moment(true, record.createdat()), op, with); };
  return [op, with](const Record& record) { return Compare(Moment(record.has_completedat(), record.completedat()), op, with); };
}

absl::StatusOr<std::vector<HistoryFilter::Condition>> HistoryFilter::ParseOne(const std::string& text, absl::Time now) {
  std::vector<Condition> conditions;
  std::vector<std::string> others;
  ASSIGN_OR_RETURN(const std::vector<std::string> fields, CsvFields(text));
  for (const std::string& field : fields) {
    ASSIGN_OR_RETURN(Condition condition, ParseComparison(field, now));
    if (condition) {
      conditions.push_back(std::move(condition));
    } else {
      others.push_back(field);
    }
  }
  const absl::StatusOr<Filter> filter = Filter::Parse({absl::StrJoin(others, ",")});
  if (!filter.ok()) return Annotate(filter.status(), absl::StrCat("failed to parse history filters ", text));
  conditions.push_back([filter = *filter](const Record& record) {
    return filter.Matches([&](const std::vector<std::string>& field) { return FieldOf(record, field.front()); });
  });
  return conditions;
}

absl::StatusOr<HistoryFilter> HistoryFilter::Parse(const std::vector<std::string>& filters, absl::Time now) {
  HistoryFilter filter;
  for (const std::string& text : filters) {
    ASSIGN_OR_RETURN(std::vector<Condition> conditions, ParseOne(text, now));
    filter.alternatives_.push_back(std::move(conditions));
  }
  return filter;
}

bool HistoryFilter::Matches(const Record& record) const {
  if (alternatives_.empty()) return true;
  return std::any_of(alternatives_.begin(), alternatives_.end(), [&](const std::vector<Condition>& conditions) {
    return std::all_of(conditions.begin(), conditions.end(), [&](const Condition& condition) { return condition(record); });
  });
}

}  // namespace cachalot::daemon
