#include "export/image_config.h"

#include <algorithm>
#include <map>

#include "absl/strings/escaping.h"
#include "base/log.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "oci/go_json.h"
#include "oci/platform.h"

namespace cachalot::exporting {
namespace {

using History = std::vector<oci::HistoryEntry>;

constexpr char kDefaultPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr char kInlineCache[] = "moby.buildkit.cache.v0";
constexpr char kUnknownOrigin[] = "created by buildkit";

// History entries that make a layer must be as many as there are layers.
void MatchHistoryToLayers(const std::vector<snapshot::Layer>& layers, History& history) {
  std::size_t with_layer = 0;
  for (oci::HistoryEntry& entry : history) {
    if (entry.empty_layer) continue;
    if (with_layer == layers.size()) {
      LogWarning("image configuration has history for layers that it lacks");
      entry.empty_layer = true;
      continue;
    }
    ++with_layer;
  }
  for (; with_layer < layers.size(); ++with_layer) {
    const snapshot::Layer& layer = layers[with_layer];
    history.push_back({.created = layer.created_at,
                       .created_by = layer.description.empty() ? kUnknownOrigin : layer.description,
                       .author = "",
                       .comment = "buildkit.exporter.image.v0"});
  }
}

// Entries without a time get their layer's, else that of the first new layer after them, else of the one before.
void FillTimes(const std::vector<snapshot::Layer>& layers, History& history) {
  std::size_t layer = 0;
  for (oci::HistoryEntry& entry : history) {
    if (entry.empty_layer) continue;
    if (!entry.created.has_value()) entry.created = layers[layer].created_at;
    ++layer;
  }
  std::optional<absl::Time> created;
  bool missing = false;
  for (const oci::HistoryEntry& entry : history) {
    if (!entry.created.has_value()) {
      missing = true;
      continue;
    }
    created = entry.created;
    if (missing) break;
  }
  missing = false;
  for (oci::HistoryEntry& entry : history) {
    if (!entry.created.has_value()) {
      missing = true;
      entry.created = created;
    } else if (missing) {
      created = entry.created;
    }
  }
}

void ClampHistory(const History& base, absl::Time epoch, History& history) {
  bool diverged = false;
  for (std::size_t i = 0; i < history.size(); ++i) {
    if (!diverged && i < base.size() && history[i] == base[i]) continue;
    diverged = true;
    if (!history[i].created.has_value() || *history[i].created > epoch) history[i].created = epoch;
  }
}

oci::Json TimeJson(const std::optional<absl::Time>& time) {
  if (!time.has_value()) return nullptr;
  return oci::FormatGoTime(*time);
}

absl::Status SetCreated(const History& history, const std::optional<absl::Time>& epoch, std::map<std::string, oci::Json>& members) {
  const auto it = members.find("created");
  if (it == members.end()) {
    std::optional<absl::Time> last;
    for (const oci::HistoryEntry& entry : history) {
      if (entry.created.has_value()) last = entry.created;
    }
    members["created"] = TimeJson(last);
  } else if (epoch.has_value() && it->second.is_string()) {
    absl::StatusOr<absl::Time> created = oci::ParseGoTime(it->second.get<std::string>());
    if (!created.ok()) return Annotate(created.status(), "failed to unmarshal creation time");
    if (*created > *epoch) it->second = TimeJson(epoch);
  }
  return absl::OkStatus();
}

}  // namespace

std::string DefaultImageConfig() {
  oci::ImageConfig config;
  config.platform = oci::HostPlatform();
  config.config.env = {kDefaultPath};
  config.config.working_dir = "/";
  return Serialize(config);
}

absl::StatusOr<std::string> AssembleImageConfig(const ConfigInputs& inputs) {
  ASSIGN_OR_RETURN(const oci::Json given, oci::ParseJson(inputs.config, "image config"));
  if (given.is_null()) return absl::InvalidArgumentError("invalid null image config for export");
  const absl::StatusOr<oci::ImageConfig> parsed = oci::ParseImageConfig(inputs.config);
  if (!parsed.ok()) return Annotate(parsed.status(), "invalid image config for export");
  if (parsed->platform.os.empty()) return absl::InvalidArgumentError("invalid image config for export: missing os");
  if (parsed->platform.architecture.empty()) return absl::InvalidArgumentError("invalid image config for export: missing architecture");

  History history = parsed->history;
  MatchHistoryToLayers(inputs.layers, history);
  FillTimes(inputs.layers, history);
  if (inputs.epoch.has_value()) {
    History base;
    if (!inputs.base_config.empty()) {
      absl::StatusOr<oci::ImageConfig> base_config = oci::ParseImageConfig(inputs.base_config);
      if (!base_config.ok()) return Annotate(base_config.status(), "failed to unmarshal base image config");
      base = std::move(base_config->history);
    }
    ClampHistory(base, *inputs.epoch, history);
  }

  std::map<std::string, oci::Json> members;
  for (auto it = given.begin(); it != given.end(); ++it) members[it.key()] = *it;
  oci::Json& rootfs = members["rootfs"] = oci::Json::object();
  rootfs["type"] = "layers";
  rootfs["diff_ids"] = nullptr;
  for (const snapshot::Layer& layer : inputs.layers) rootfs["diff_ids"].push_back(layer.diff_id.str());
  ASSIGN_OR_RETURN(members["history"], oci::ParseJson(oci::Serialize(history), "history"));
  RETURN_IF_ERROR(SetCreated(history, inputs.epoch, members));

  if (!inputs.inline_cache.empty()) members[kInlineCache] = absl::Base64Escape(inputs.inline_cache);

  oci::Json out = oci::Json::object();
  for (auto& [name, value] : members) out[name] = std::move(value);
  return oci::DumpGo(out);
}

}  // namespace cachalot::exporting
