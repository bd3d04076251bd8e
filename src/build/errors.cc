#include "build/errors.h"

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "llb/source_error.h"
#include "oci/go_json.h"
#include "op/errors.h"
#include "solver/solver.h"

namespace cachalot::build {
namespace {

constexpr char kOpPayload[] = "cachalot/op";
constexpr char kDescriptionPayload[] = "cachalot/description";
constexpr char kSourcesPayload[] = "cachalot/sources";
constexpr char kDenyPayload[] = "cachalot/deny-messages";

using oci::Json;

Json RangesJson(const std::vector<solver::SourceRange>& ranges) {
  Json json = Json::array();
  for (const solver::SourceRange& range : ranges) json.push_back(Json{range.start_line, range.start_character, range.end_line, range.end_character});
  return json;
}

// Bytes may be anything: JSON takes text only.
Json ExcerptJson(const SourceExcerpt& excerpt) {
  return Json{{"filename", absl::Base64Escape(excerpt.filename)},
              {"data", absl::Base64Escape(excerpt.data)},
              {"language", absl::Base64Escape(excerpt.language)},
              {"definition", absl::Base64Escape(excerpt.definition)},
              {"ranges", RangesJson(excerpt.ranges)}};
}

std::string Unescape(const Json& json) {
  std::string text;
  return absl::Base64Unescape(json.get<std::string>(), &text) ? text : "";
}

std::vector<SourceExcerpt> ReadExcerpts(const std::string& text) {
  std::vector<SourceExcerpt> excerpts;
  for (const Json& json : Json::parse(text, nullptr, false)) {
    SourceExcerpt& excerpt = excerpts.emplace_back();
    excerpt.filename = Unescape(json["filename"]);
    excerpt.data = Unescape(json["data"]);
    excerpt.language = Unescape(json["language"]);
    excerpt.definition = Unescape(json["definition"]);
    for (const Json& range : json["ranges"]) excerpt.ranges.push_back({range[0], range[1], range[2], range[3]});
  }
  return excerpts;
}

std::string PayloadOf(const absl::Status& status, const char* url) {
  const auto payload = status.GetPayload(url);
  return payload.has_value() ? std::string(*payload) : "";
}

}  // namespace

ErrorDetails DetailsOf(const absl::Status& status) {
  ErrorDetails details;
  details.vertex = PayloadOf(status, solver::kFailedVertexPayload);
  details.op = PayloadOf(status, kOpPayload);
  details.exit_code = op::GetNumber(status, op::kExitCodePayload);
  details.file_action = op::GetNumber(status, op::kFileActionPayload);
  details.content_input = op::GetNumber(status, op::kContentInputPayload);
  details.input_ids = op::GetIds(status, op::kInputTreesPayload);
  details.mount_ids = op::GetIds(status, op::kWorkTreesPayload);
  if (const std::string text = PayloadOf(status, kDescriptionPayload); !text.empty()) {
    details.description = Json::parse(text, nullptr, false).get<std::map<std::string, std::string>>();
  }
  // What a frontend says (a syntax error) before what the failed vertex came from.
  if (const std::optional<llb::SourceLocation> location = llb::SourceOf(status); location.has_value()) {
    details.sources.push_back(
        {location->info->filename, location->info->data, location->info->language, location->info->definition, location->ranges});
  }
  if (const std::string text = PayloadOf(status, kSourcesPayload); !text.empty()) {
    for (SourceExcerpt& excerpt : ReadExcerpts(text)) details.sources.push_back(std::move(excerpt));
  }
  if (const std::string text = PayloadOf(status, kDenyPayload); !text.empty()) {
    for (const Json& message : Json::parse(text, nullptr, false)) details.deny_messages.push_back(Unescape(message));
  }
  return details;
}

void AttachVertex(absl::Status& status, const llb::Vertex& vertex) {
  if (status.ok() || status.GetPayload(kOpPayload).has_value()) return;
  status.SetPayload(kOpPayload, absl::Cord(vertex.op_bytes));
  status.SetPayload(kDescriptionPayload, absl::Cord(oci::DumpGo(Json(vertex.metadata.description))));
  for (auto location = vertex.locations.rbegin(); location != vertex.locations.rend(); ++location) {
    if (location->info == nullptr) continue;
    const llb::SourceInfo& info = *location->info;
    AttachSource(status, {info.filename, info.data, info.language, info.definition, location->ranges});
  }
}

void AttachSource(absl::Status& status, const SourceExcerpt& source) {
  if (status.ok()) return;
  const std::string known = PayloadOf(status, kSourcesPayload);
  Json sources = known.empty() ? Json::array() : Json::parse(known, nullptr, false);
  sources.push_back(ExcerptJson(source));
  status.SetPayload(kSourcesPayload, absl::Cord(sources.dump()));
}

void AttachDenyMessages(absl::Status& status, const std::vector<std::string>& messages) {
  if (status.ok() || messages.empty()) return;
  Json json = Json::array();
  for (const std::string& message : messages) json.push_back(absl::Base64Escape(message));
  status.SetPayload(kDenyPayload, absl::Cord(json.dump()));
}

}  // namespace cachalot::build
