#include "client/cache_commands.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/filter.h"
#include "base/status_macros.h"
#include "buildkit/control.grpc.pb.h"
#include "client/build_options.h"
#include "daemon/config_values.h"
#include "daemon/rpc_error.h"
#include "daemon/timestamps.h"

namespace cachalot::client {

namespace {

namespace control = moby::buildkit::v1;

std::string FormatAge(const control::UsageRecord& record) {
  if (!record.has_lastusedat()) {
    return "";
  }
  const absl::Duration age = absl::Now() - daemon::DecodeTime(record.lastusedat());
  if (age < absl::Minutes(2)) return absl::StrCat(absl::ToInt64Seconds(age), " seconds ago");
  if (age < absl::Hours(2)) return absl::StrCat(absl::ToInt64Minutes(age), " minutes ago");
  if (age < absl::Hours(48)) return absl::StrCat(absl::ToInt64Hours(age), " hours ago");
  return absl::StrCat(absl::ToInt64Hours(age) / 24, " days ago");
}

const char* YesNo(bool value) { return value ? "true" : "false"; }

void PrintHeader() { absl::PrintF("%-72s%-16s%-16s%s\n", "ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"); }

void PrintRow(const control::UsageRecord& record) {
  const std::string id = absl::StrCat(record.id(), record.mutable_() ? "*" : "");
  absl::PrintF("%-72s%-16s%-16s%s\n", id, YesNo(!record.inuse()), FormatSize(record.size()), FormatAge(record));
}

void PrintRecord(const control::UsageRecord& record) {
  absl::PrintF("ID:\t\t%s\n", record.id());
  if (record.parents_size() > 0) {
    absl::PrintF("Parents:\t%s\n", absl::StrJoin(record.parents(), ";"));
  }
  absl::PrintF("Created at:\t%s\n", absl::FormatTime(daemon::DecodeTime(record.createdat()), absl::UTCTimeZone()));
  absl::PrintF("Mutable:\t%s\nReclaimable:\t%s\nShared:\t\t%s\nSize:\t\t%s\n", YesNo(record.mutable_()), YesNo(!record.inuse()),
               YesNo(record.shared()), FormatSize(record.size()));
  if (!record.description().empty()) {
    absl::PrintF("Description:\t%s\n", record.description());
  }
  absl::PrintF("Usage count:\t%d\n", record.usagecount());
  if (record.has_lastusedat()) {
    absl::PrintF("Last used:\t%s\n", FormatAge(record));
  }
  absl::PrintF("Type:\t\t%s\n\n", record.recordtype());
}

// Filters as docker writes them ("type=regular", "id=abc", "until=24h") or as buildctl does ("type==regular", "id~=^abc"). A record must
// pass them all: one filter of the protocol. An age goes to `age`.
absl::Status AddFilters(const std::vector<std::string>& texts, google::protobuf::RepeatedPtrField<std::string>* filters, std::string& age) {
  std::vector<std::string> selectors;
  for (const std::string& text : texts) {
    const std::size_t equal = text.find('=');
    const std::string name = text.substr(0, equal);
    if (name.empty()) return absl::InvalidArgumentError(absl::StrCat("invalid filter \"", text, "\": expected name=value"));
    if (equal == std::string::npos) {
      selectors.push_back(text);  // the field is there
    } else if (name == "until" || name == "unused-for") {
      age = text.substr(equal + 1);
    } else if (name.back() == '!' || name.back() == '~' || absl::StartsWith(text.substr(equal), "==")) {
      selectors.push_back(text);
    } else {
      selectors.push_back(absl::StrCat(name, name == "id" ? "~=" : "==", text.substr(equal + 1)));
    }
  }
  if (selectors.empty()) return absl::OkStatus();
  std::string joined = absl::StrJoin(selectors, ",");
  RETURN_IF_ERROR(Filter::Parse({joined}).status());
  filters->Add(std::move(joined));
  return absl::OkStatus();
}

absl::Status SetBytes(const std::string& text, std::int64_t& target) {
  if (!text.empty()) {
    ASSIGN_OR_RETURN(target, ParseSize(text));
  }
  return absl::OkStatus();
}

absl::StatusOr<control::PruneRequest> MakePrune(const PruneOptions& options) {
  control::PruneRequest request;
  std::string keep_duration = options.keep_duration;
  RETURN_IF_ERROR(AddFilters(options.filters, request.mutable_filter(), keep_duration));
  request.set_all(options.all);
  ASSIGN_OR_RETURN(const absl::Duration keep, daemon::ParseDuration(keep_duration));
  request.set_keepduration(absl::ToInt64Nanoseconds(keep));
  std::int64_t reserved = 0, max_used = 0, min_free = 0;
  RETURN_IF_ERROR(SetBytes(options.reserved_space, reserved));
  RETURN_IF_ERROR(SetBytes(options.max_used_space, max_used));
  RETURN_IF_ERROR(SetBytes(options.min_free_space, min_free));
  request.set_reservedspace(reserved);
  request.set_maxusedspace(max_used);
  request.set_minfreespace(min_free);
  return request;
}

}  // namespace

std::string FormatSize(std::int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return absl::StrFormat("%.4g%s", value, kUnits[unit]);
}

absl::Status ShowDiskUsage(const DiskUsageOptions& options, const ConnectOptions& connect) {
  control::DiskUsageRequest request;
  std::string age;
  RETURN_IF_ERROR(AddFilters(options.filters, request.mutable_filter(), age));
  ASSIGN_OR_RETURN(const absl::Duration unused_for, daemon::ParseDuration(age));
  request.set_agelimit(absl::ToInt64Nanoseconds(unused_for));
  ASSIGN_OR_RETURN(const auto connection, Connect(connect));
  const auto stub = control::Control::NewStub(connection->channel());
  control::DiskUsageResponse response;
  grpc::ClientContext context;
  RETURN_IF_ERROR(daemon::FromGrpcStatus(stub->DiskUsage(&context, request, &response)));
  std::int64_t total = 0, reclaimable = 0, shared = 0;
  auto* records = response.mutable_record();
  std::sort(records->begin(), records->end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  if (!options.verbose) {
    PrintHeader();
  }
  for (const auto& record : *records) {
    options.verbose ? PrintRecord(record) : PrintRow(record);
    total += record.size();
    reclaimable += record.inuse() ? 0 : record.size();
    shared += record.shared() ? record.size() : 0;
  }
  if (options.filters.empty()) {
    if (shared > 0) {
      absl::PrintF("Shared:\t\t%s\nPrivate:\t%s\n", FormatSize(shared), FormatSize(total - shared));
    }
    absl::PrintF("Reclaimable:\t%s\n", FormatSize(reclaimable));
  }
  absl::PrintF("Total:\t\t%s\n", FormatSize(total));
  return absl::OkStatus();
}

absl::Status Prune(const PruneOptions& options, const ConnectOptions& connect) {
  ASSIGN_OR_RETURN(const control::PruneRequest request, MakePrune(options));
  ASSIGN_OR_RETURN(const auto connection, Connect(connect));
  const auto stub = control::Control::NewStub(connection->channel());
  grpc::ClientContext context;
  const auto reader = stub->Prune(&context, request);
  control::UsageRecord record;
  std::int64_t total = 0;
  bool first = true;
  while (reader->Read(&record)) {
    if (first && !options.verbose) {
      PrintHeader();
    }
    first = false;
    options.verbose ? PrintRecord(record) : PrintRow(record);
    total += record.size();
  }
  RETURN_IF_ERROR(daemon::FromGrpcStatus(reader->Finish()));
  absl::PrintF("Total:\t%s\n", FormatSize(total));
  return absl::OkStatus();
}

}  // namespace cachalot::client
