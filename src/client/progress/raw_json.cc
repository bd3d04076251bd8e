#include <string>

#include "absl/strings/escaping.h"
#include "client/progress/displays.h"
#include "oci/go_json.h"

namespace cachalot::client::progress {
namespace {

using oci::Json;

// Members that are empty are left out, as Go's "omitempty" does.
void Set(Json& object, const char* name, const std::string& value) {
  if (!value.empty()) object[name] = value;
}
void Set(Json& object, const char* name, const std::optional<absl::Time>& time) {
  if (time) object[name] = oci::FormatGoTime(*time);
}
void Set(Json& object, const char* name, std::int64_t value) {
  if (value != 0) object[name] = value;
}
void Set(Json& object, const char* name, Json value) {
  if (!value.empty()) object[name] = std::move(value);
}

std::string Base64(const std::string& bytes) { return absl::Base64Escape(bytes); }

Json VertexJson(const solver::VertexEvent& event) {
  Json json = Json::object();
  Set(json, "digest", event.digest);
  if (!event.inputs.empty()) json["inputs"] = event.inputs;
  Set(json, "name", event.name);
  Set(json, "started", event.started);
  Set(json, "completed", event.completed);
  if (event.cached) json["cached"] = true;
  Set(json, "error", event.error);
  if (event.group) {
    Json group = Json::object();
    Set(group, "id", event.group->id);
    Set(group, "name", event.group->name);
    if (event.group->weak) group["weak"] = true;
    json["progressGroup"] = std::move(group);
  }
  return json;
}

Json StatusJson(const solver::StatusEvent& event) {
  Json json = Json::object();
  json["id"] = event.id;
  Set(json, "vertex", event.vertex);
  Set(json, "name", event.name);
  Set(json, "total", event.total);
  json["current"] = event.current;
  json["timestamp"] = oci::FormatGoTime(event.timestamp);
  Set(json, "started", event.started);
  Set(json, "completed", event.completed);
  return json;
}

Json LogJson(const solver::LogEvent& event) {
  Json json = Json::object();
  Set(json, "vertex", event.vertex);
  Set(json, "stream", std::int64_t{event.stream});
  json["data"] = Base64(event.data);
  json["timestamp"] = oci::FormatGoTime(event.timestamp);
  return json;
}

Json PositionJson(int line, int character) {
  Json json = Json::object();
  Set(json, "line", std::int64_t{line});
  Set(json, "character", std::int64_t{character});
  return json;
}

Json WarningJson(const solver::WarningEvent& event) {
  Json json = Json::object();
  Set(json, "vertex", event.vertex);
  Set(json, "level", std::int64_t{event.level});
  Set(json, "short", Base64(event.brief));
  Json details = Json::array();
  for (const std::string& detail : event.detail) details.push_back(Base64(detail));
  Set(json, "detail", std::move(details));
  Set(json, "url", event.url);
  if (!event.source_filename.empty()) {
    Json source = Json::object();
    source["filename"] = event.source_filename;
    Set(source, "data", Base64(event.source_data));
    Set(source, "language", event.source_language);
    json["sourceInfo"] = std::move(source);
  }
  Json ranges = Json::array();
  for (const solver::SourceRange& range : event.ranges) {
    Json item = Json::object();
    item["start"] = PositionJson(range.start_line, range.start_character);
    item["end"] = PositionJson(range.end_line, range.end_character);
    ranges.push_back(std::move(item));
  }
  Set(json, "range", std::move(ranges));
  return json;
}

template <typename Event>
Json List(const std::vector<Event>& events, Json (*convert)(const Event&)) {
  Json list = Json::array();
  for (const Event& event : events) list.push_back(convert(event));
  return list;
}

class RawJsonDisplay : public Display {
 public:
  explicit RawJsonDisplay(Output* output) : output_(output) {}

  void Update(const Batch& batch) override {
    Json json = Json::object();
    Set(json, "vertexes", List(batch.vertexes, VertexJson));
    Set(json, "statuses", List(batch.statuses, StatusJson));
    Set(json, "logs", List(batch.logs, LogJson));
    Set(json, "warnings", List(batch.warnings, WarningJson));
    output_->Write(oci::DumpGo(json) + "\n");
  }
  void Refresh() override {}
  void Finish() override {}

 private:
  Output* output_;
};

}  // namespace

std::unique_ptr<Display> NewRawJsonDisplay(Output* output) { return std::make_unique<RawJsonDisplay>(output); }

}  // namespace cachalot::client::progress
