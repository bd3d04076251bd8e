#include "remotecache/cache_config.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "oci/go_json.h"

namespace cachalot::remotecache {
namespace {

using oci::Json;
using oci::ObjectReader;

constexpr char kDocument[] = "cache config";
// Go's zero time.
constexpr char kNoTime[] = "0001-01-01T00:00:00Z";

absl::Time ReadTime(ObjectReader& reader, const char* name) {
  const std::string text = reader.String(name);
  if (text.empty() || text == kNoTime) return absl::InfinitePast();
  absl::StatusOr<absl::Time> time = oci::ParseGoTime(text);
  if (time.ok()) return *time;
  reader.Fail(name, "is no time");
  return absl::InfinitePast();
}

std::string TimeText(absl::Time time) { return time == absl::InfinitePast() ? kNoTime : oci::FormatGoTime(time); }

int ReadIndex(ObjectReader& reader, const char* name, std::size_t count) {
  const std::int64_t index = reader.Int(name);
  if (index < 0 || index >= static_cast<std::int64_t>(count)) {
    reader.Fail(name, "is out of range");
    return 0;
  }
  return static_cast<int>(index);
}

void ReadLayer(const Json& json, const std::string& where, absl::Status& status, std::size_t count, ConfigLayer& layer) {
  ObjectReader reader(json, where, status);
  absl::StatusOr<oci::Digest> blob = oci::Digest::Parse(reader.String("blob"));
  if (blob.ok()) {
    layer.blob = *std::move(blob);
  } else {
    reader.Fail("blob", "is no digest");
  }
  layer.parent = reader.Int("parent") == -1 ? -1 : ReadIndex(reader, "parent", count);
  const Json* annotations = reader.Find("annotations");
  if (annotations == nullptr) return;
  ObjectReader note(*annotations, reader.Where("annotations"), status);
  layer.note.emplace();
  layer.note->media_type = note.String("mediaType");
  layer.note->size = note.Int("size");
  layer.note->created_at = ReadTime(note, "createdAt");
  if (absl::StatusOr<oci::Digest> diff_id = oci::Digest::Parse(note.String("diffID")); diff_id.ok()) layer.note->diff_id = *std::move(diff_id);
}

void ReadRecord(const Json& json, const std::string& where, absl::Status& status, std::size_t layers, std::size_t records, Record& record) {
  ObjectReader reader(json, where, status);
  record.digest = reader.String("digest");
  reader.Each("layers", [&](const Json& item, const std::string& place) {
    ObjectReader result(item, place, status);
    record.results.push_back({ReadIndex(result, "layer", layers), ReadTime(result, "createdAt")});
  });
  reader.Each("chains", [&](const Json& item, const std::string& place) {
    ObjectReader chain(item, place, status);
    ChainedResult& result = record.chains.emplace_back();
    result.created_at = ReadTime(chain, "createdAt");
    chain.Each("layers", [&](const Json& index, const std::string&) {
      if (!index.is_number_integer() || index < 0 || index >= layers) return chain.Fail("layers", "has an index out of range");
      result.layers.push_back(index.get<int>());
    });
  });
  reader.Each("inputs", [&](const Json& input, const std::string&) {
    std::vector<RecordLink>& links = record.inputs.emplace_back();
    if (!input.is_array() || input.empty()) return reader.Fail("inputs", "has an empty input");
    for (std::size_t i = 0; i < input.size(); ++i) {
      ObjectReader link(input[i], absl::StrCat(reader.Where("inputs"), "[", i, "]"), status);
      links.push_back({link.String("selector"), ReadIndex(link, "link", records)});
    }
  });
}

std::size_t Count(ObjectReader& reader, const char* name) {
  const Json* list = reader.Find(name);
  return list == nullptr || !list->is_array() ? 0 : list->size();
}

void ReadRecords(const Json& list, absl::Status& status, CacheConfig& config) {
  config.records.resize(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    ReadRecord(list[i], absl::StrCat(kDocument, ".records[", i, "]"), status, config.layers.size(), list.size(), config.records[i]);
  }
}

// Whether no node leads back to itself. `next(node, visit)` calls `visit` for the nodes that `node` leads to.
bool IsLoopFree(std::size_t count, const std::function<void(int, const std::function<void(int)>&)>& next) {
  std::vector<int> incoming(count);
  for (std::size_t i = 0; i < count; ++i) {
    next(static_cast<int>(i), [&](int to) { ++incoming[to]; });
  }
  std::vector<int> ready;
  for (std::size_t i = 0; i < count; ++i) {
    if (incoming[i] == 0) ready.push_back(static_cast<int>(i));
  }
  std::size_t seen = 0;
  while (!ready.empty()) {
    const int node = ready.back();
    ready.pop_back();
    ++seen;
    next(node, [&](int to) {
      if (--incoming[to] == 0) ready.push_back(to);
    });
  }
  return seen == count;
}

absl::Status CheckLoops(const CacheConfig& config) {
  const auto parents = [&](int layer, const std::function<void(int)>& visit) {
    if (config.layers[layer].parent != -1) visit(config.layers[layer].parent);
  };
  if (!IsLoopFree(config.layers.size(), parents)) return absl::InvalidArgumentError(absl::StrCat(kDocument, ": invalid looping layer"));
  const auto inputs = [&](int record, const std::function<void(int)>& visit) {
    for (const std::vector<RecordLink>& links : config.records[record].inputs) {
      for (const RecordLink& link : links) visit(link.record);
    }
  };
  if (!IsLoopFree(config.records.size(), inputs)) return absl::InvalidArgumentError(absl::StrCat(kDocument, ": invalid looping record"));
  return absl::OkStatus();
}

Json LayerJson(const ConfigLayer& layer) {
  Json json = {{"blob", layer.blob.str()}};
  if (layer.parent != 0) json["parent"] = layer.parent;  // Go leaves zeros out
  if (layer.note.has_value()) {
    Json& note = json["annotations"] = Json::object();
    if (!layer.note->media_type.empty()) note["mediaType"] = layer.note->media_type;
    if (!layer.note->diff_id.empty()) note["diffID"] = layer.note->diff_id.str();
    if (layer.note->size != 0) note["size"] = layer.note->size;
    note["createdAt"] = TimeText(layer.note->created_at);
  }
  return json;
}

Json RecordJson(const Record& record) {
  Json json = Json::object();
  for (const RecordResult& result : record.results) {
    json["layers"].push_back(Json{{"layer", result.layer}, {"createdAt", TimeText(result.created_at)}});
  }
  for (const ChainedResult& chain : record.chains) {
    json["chains"].push_back(Json{{"layers", chain.layers}, {"createdAt", TimeText(chain.created_at)}});
  }
  json["digest"] = record.digest;
  for (const std::vector<RecordLink>& links : record.inputs) {
    Json& input = json["inputs"].emplace_back(Json::array());
    for (const RecordLink& link : links) {
      Json& added = input.emplace_back(Json::object());
      if (!link.selector.empty()) added["selector"] = link.selector;
      added["link"] = link.record;
    }
  }
  return json;
}

Json RecordsJson(const std::vector<Record>& records) {
  Json list = Json::array();
  for (const Record& record : records) list.push_back(RecordJson(record));
  return list;
}

}  // namespace

absl::StatusOr<CacheConfig> ParseCacheConfig(absl::string_view json) {
  ASSIGN_OR_RETURN(const Json document, oci::ParseJson(json, kDocument));
  absl::Status status;
  CacheConfig config;
  ObjectReader reader(document, kDocument, status);
  config.layers.resize(Count(reader, "layers"));
  std::size_t next = 0;
  reader.Each("layers",
              [&](const Json& item, const std::string& where) { ReadLayer(item, where, status, config.layers.size(), config.layers[next++]); });
  if (Count(reader, "records") > 0) ReadRecords(*reader.Find("records"), status, config);
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(CheckLoops(config));
  return config;
}

absl::StatusOr<CacheConfig> ParseInlineRecords(absl::string_view json, const std::vector<oci::Digest>& layers) {
  ASSIGN_OR_RETURN(const Json document, oci::ParseJson(json, kDocument));
  CacheConfig config;
  for (const oci::Digest& layer : layers) config.layers.push_back({layer, static_cast<int>(config.layers.size()) - 1});
  if (document.is_null()) return config;
  if (!document.is_array()) return absl::InvalidArgumentError(absl::StrCat(kDocument, " is not an array"));
  absl::Status status;
  ReadRecords(document, status, config);
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(CheckLoops(config));
  return config;
}

std::string Serialize(const CacheConfig& config) {
  Json json = Json::object();
  for (const ConfigLayer& layer : config.layers) json["layers"].push_back(LayerJson(layer));
  if (!config.records.empty()) json["records"] = RecordsJson(config.records);
  return oci::DumpGo(json);
}

std::string SerializeRecords(const std::vector<Record>& records) { return oci::DumpGo(RecordsJson(records)); }

std::vector<int> ChainOf(const CacheConfig& config, int layer) {
  std::vector<int> chain;
  for (int index = layer; index != -1; index = config.layers[index].parent) chain.push_back(index);
  std::reverse(chain.begin(), chain.end());
  return chain;
}

}  // namespace cachalot::remotecache
