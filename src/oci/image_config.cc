#include <array>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "oci/descriptor_json.h"
#include "oci/image.h"

namespace cachalot::oci {
namespace {

constexpr std::array<absl::string_view, 10> kKnownMembers = {"created",     "author",  "architecture", "os",      "os.version",
                                                             "os.features", "variant", "rootfs",       "history", "config"};

std::optional<absl::Time> ReadTime(ObjectReader& reader, const char* name) {
  const std::string text = reader.String(name);
  if (text.empty()) return std::nullopt;
  absl::StatusOr<absl::Time> time = ParseGoTime(text);
  if (time.ok()) return *time;
  reader.Fail(name, time.status().message());
  return std::nullopt;
}

HealthCheck ReadHealthCheck(const Json& value, const std::string& where, absl::Status& status) {
  ObjectReader reader(value, where, status);
  HealthCheck out;
  out.test = reader.Strings("Test");
  out.interval = absl::Nanoseconds(reader.Int("Interval"));
  out.timeout = absl::Nanoseconds(reader.Int("Timeout"));
  out.start_period = absl::Nanoseconds(reader.Int("StartPeriod"));
  out.start_interval = absl::Nanoseconds(reader.Int("StartInterval"));
  out.retries = static_cast<int>(reader.Int("Retries"));
  return out;
}

RunConfig ReadRunConfig(const Json& value, const std::string& where, absl::Status& status) {
  ObjectReader reader(value, where, status);
  RunConfig out;
  out.user = reader.String("User");
  out.exposed_ports = reader.Set("ExposedPorts");
  out.env = reader.Strings("Env");
  out.entrypoint = reader.Strings("Entrypoint");
  out.cmd = reader.Strings("Cmd");
  out.volumes = reader.Set("Volumes");
  out.working_dir = reader.String("WorkingDir");
  out.labels = reader.StringMap("Labels");
  out.stop_signal = reader.String("StopSignal");
  out.args_escaped = reader.Bool("ArgsEscaped");
  if (const Json* check = reader.Find("Healthcheck")) out.healthcheck = ReadHealthCheck(*check, reader.Where("Healthcheck"), status);
  out.on_build = reader.Strings("OnBuild");
  out.shell = reader.Strings("Shell");
  return out;
}

HistoryEntry ReadHistoryEntry(const Json& value, const std::string& where, absl::Status& status) {
  ObjectReader reader(value, where, status);
  HistoryEntry out;
  out.created = ReadTime(reader, "created");
  out.created_by = reader.String("created_by");
  out.author = reader.String("author");
  out.comment = reader.String("comment");
  out.empty_layer = reader.Bool("empty_layer");
  return out;
}

std::vector<Digest> ReadDiffIds(const Json& rootfs, const std::string& where, absl::Status& status) {
  ObjectReader reader(rootfs, where, status);
  std::vector<Digest> out;
  for (const std::string& text : reader.Strings("diff_ids")) {
    absl::StatusOr<Digest> digest = Digest::Parse(text);
    if (!digest.ok()) {
      reader.Fail("diff_ids", digest.status().message());
      break;
    }
    out.push_back(*std::move(digest));
  }
  return out;
}

std::string UnknownMembers(const Json& value) {
  Json rest = Json::object();
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (std::find(kKnownMembers.begin(), kKnownMembers.end(), it.key()) == kKnownMembers.end()) rest[it.key()] = *it;
  }
  return rest.empty() ? "" : DumpGo(rest);
}

template <typename T>
void AddUnlessEmpty(Json& object, const char* name, const T& value) {
  if (!value.empty()) object[name] = value;
}

void AddSet(Json& object, const char* name, const std::vector<std::string>& names) {
  for (const std::string& member : names) object[name][member] = Json::object();
}

Json ToJson(const HealthCheck& check) {
  Json out = Json::object();
  const auto add = [&](const char* name, absl::Duration duration) {
    if (duration != absl::ZeroDuration()) out[name] = absl::ToInt64Nanoseconds(duration);
  };
  AddUnlessEmpty(out, "Test", check.test);
  add("Interval", check.interval);
  add("Timeout", check.timeout);
  add("StartPeriod", check.start_period);
  add("StartInterval", check.start_interval);
  if (check.retries != 0) out["Retries"] = check.retries;
  return out;
}

Json ToJson(const RunConfig& config) {
  Json out = Json::object();
  AddUnlessEmpty(out, "User", config.user);
  AddSet(out, "ExposedPorts", config.exposed_ports);
  AddUnlessEmpty(out, "Env", config.env);
  AddUnlessEmpty(out, "Entrypoint", config.entrypoint);
  AddUnlessEmpty(out, "Cmd", config.cmd);
  AddSet(out, "Volumes", config.volumes);
  AddUnlessEmpty(out, "WorkingDir", config.working_dir);
  for (const auto& [name, value] : config.labels) out["Labels"][name] = value;
  AddUnlessEmpty(out, "StopSignal", config.stop_signal);
  if (config.args_escaped) out["ArgsEscaped"] = true;
  if (config.healthcheck.has_value()) out["Healthcheck"] = ToJson(*config.healthcheck);
  AddUnlessEmpty(out, "OnBuild", config.on_build);
  AddUnlessEmpty(out, "Shell", config.shell);
  return out;
}

Json ToJson(const HistoryEntry& entry) {
  Json out = Json::object();
  if (entry.created.has_value()) out["created"] = FormatGoTime(*entry.created);
  AddUnlessEmpty(out, "created_by", entry.created_by);
  AddUnlessEmpty(out, "author", entry.author);
  AddUnlessEmpty(out, "comment", entry.comment);
  if (entry.empty_layer) out["empty_layer"] = true;
  return out;
}

}  // namespace

absl::StatusOr<ImageConfig> ParseImageConfig(absl::string_view json) {
  ASSIGN_OR_RETURN(const Json value, ParseJson(json, "image config"));
  absl::Status status;
  ObjectReader reader(value, "image config", status);
  ImageConfig out;
  out.platform = ReadPlatform(reader);
  out.created = ReadTime(reader, "created");
  out.author = reader.String("author");
  if (const Json* config = reader.Find("config")) out.config = ReadRunConfig(*config, reader.Where("config"), status);
  if (const Json* rootfs = reader.Find("rootfs")) out.diff_ids = ReadDiffIds(*rootfs, reader.Where("rootfs"), status);
  reader.Each("history", [&](const Json& entry, const std::string& where) { out.history.push_back(ReadHistoryEntry(entry, where, status)); });
  if (!status.ok()) return status;
  out.unknown_members = UnknownMembers(value);
  return out;
}

std::string Serialize(const ImageConfig& config) {
  Json out = Json::object();
  if (config.created.has_value()) out["created"] = FormatGoTime(*config.created);
  AddUnlessEmpty(out, "author", config.author);
  AddPlatform(config.platform, out);
  Json& rootfs = out["rootfs"] = Json::object();
  rootfs["type"] = "layers";
  rootfs["diff_ids"] = nullptr;
  for (const Digest& id : config.diff_ids) rootfs["diff_ids"].push_back(id.str());
  for (const HistoryEntry& entry : config.history) out["history"].push_back(ToJson(entry));
  out["config"] = ToJson(config.config);
  if (!config.unknown_members.empty()) {
    if (absl::StatusOr<Json> rest = ParseJson(config.unknown_members, "unknown members"); rest.ok() && rest->is_object()) {
      for (auto it = rest->begin(); it != rest->end(); ++it) out[it.key()] = *it;
    }
  }
  return DumpGo(out);
}

std::string Serialize(const std::vector<HistoryEntry>& history) {
  if (history.empty()) return "null";
  Json out = Json::array();
  for (const HistoryEntry& entry : history) out.push_back(ToJson(entry));
  return DumpGo(out);
}

}  // namespace cachalot::oci
