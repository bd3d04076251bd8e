#include "llb/source_error.h"

#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "buildkit/errdefs.pb.h"

namespace cachalot::llb {
namespace {

// The payload is a serialized errdefs.Source.
constexpr char kPayload[] = "cachalot/errdefs.Source";

}  // namespace

void AttachSource(absl::Status& status, const SourceLocation& location) {
  if (status.ok() || location.info == nullptr || status.GetPayload(kPayload).has_value()) return;
  errdefs::Source source;
  source.mutable_info()->set_filename(location.info->filename);
  source.mutable_info()->set_data(location.info->data);
  source.mutable_info()->set_language(location.info->language);
  if (!location.info->definition.empty()) source.mutable_info()->mutable_definition()->ParseFromString(location.info->definition);
  for (const solver::SourceRange& range : location.ranges) {
    pb::Range& added = *source.add_ranges();
    added.mutable_start()->set_line(range.start_line);
    added.mutable_start()->set_character(range.start_character);
    added.mutable_end()->set_line(range.end_line);
    added.mutable_end()->set_character(range.end_character);
  }
  status.SetPayload(kPayload, absl::Cord(source.SerializeAsString()));
}

std::optional<SourceLocation> SourceOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  errdefs::Source source;
  if (!payload.has_value() || !source.ParseFromString(std::string(*payload))) return std::nullopt;
  auto info = std::make_shared<SourceInfo>();
  info->filename = source.info().filename();
  info->data = source.info().data();
  info->language = source.info().language();
  info->definition = source.info().definition().SerializeAsString();
  SourceLocation location;
  location.info = std::move(info);
  for (const pb::Range& range : source.ranges()) {
    location.ranges.push_back({range.start().line(), range.start().character(), range.end().line(), range.end().character()});
  }
  return location;
}

}  // namespace cachalot::llb
