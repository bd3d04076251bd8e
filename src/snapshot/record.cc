#include "snapshot/record.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "store/cache_index.h"
#include "store/local_blobs.h"

namespace cachalot::snapshot {

namespace {

using store::Connection;
using store::Statement;

// Annotations as "key NUL value NUL ...": JSON strings of a manifest hold no NUL that anyone relies on.
std::string EncodeAnnotations(const oci::Annotations& annotations) {
  std::string text;
  for (const auto& [key, value] : annotations) absl::StrAppend(&text, key, absl::string_view("\0", 1), value, absl::string_view("\0", 1));
  return text;
}

oci::Annotations DecodeAnnotations(const std::string& text) {
  oci::Annotations annotations;
  const std::vector<std::string> parts = absl::StrSplit(text, '\0');
  for (std::size_t i = 0; i + 1 < parts.size(); i += 2) annotations[parts[i]] = parts[i + 1];
  return annotations;
}

absl::Time FromMicros(std::int64_t micros) { return micros == 0 ? absl::InfinitePast() : absl::FromUnixMicros(micros); }
std::int64_t ToMicros(absl::Time time) { return time == absl::InfinitePast() ? 0 : absl::ToUnixMicros(time); }

absl::StatusOr<oci::Digest> ParseOptional(const std::string& text) {
  if (text.empty()) return oci::Digest();
  return oci::Digest::Parse(text);
}

absl::Status LoadLayers(Connection& connection, RecordTable& table) {
  ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT snapshot, form, media_type, digest, size, annotations, sources FROM snapshot_layers"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return absl::OkStatus();
    const auto found = table.records.find(query.Text(0));
    if (found == table.records.end()) continue;
    KnownLayer layer = found->second->layer();
    LayerBlob& blob = layer.blobs[query.Text(1)];
    blob.descriptor.media_type = query.Text(2);
    ASSIGN_OR_RETURN(blob.descriptor.digest, oci::Digest::Parse(query.Text(3)));
    blob.descriptor.size = query.Int(4);
    blob.descriptor.annotations = DecodeAnnotations(query.Text(5));
    blob.sources = absl::StrSplit(query.Text(6), '\n', absl::SkipEmpty());
    found->second->SetLayer(std::move(layer));
  }
}

absl::Status LoadNames(Connection& connection, RecordTable& table) {
  ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT key, snapshot FROM snapshot_names"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return absl::OkStatus();
    if (table.records.contains(query.Text(1))) table.names[query.Text(0)] = query.Text(1);
  }
}

}  // namespace

const KnownLayer& Record::layer() const {
  static const KnownLayer* const nothing = new KnownLayer();
  return layer_ == nullptr ? *nothing : *layer_;
}

Layer Record::AnyLayer() const {
  if (layer().blobs.empty()) return {};
  const LayerBlob& blob = layer().blobs.begin()->second;
  return {blob.descriptor, layer().diff_id, blob.sources};
}

absl::Time Storable(absl::Time time) { return FromMicros(ToMicros(time)); }

void RecordTable::Add(const RecordPtr& record) {
  records[record->id] = record;
  if (record->parent != nullptr) ++record->parent->children;
  if (const std::string& chain = record->layer().chain; !chain.empty()) chains.try_emplace(chain, record->id);
}

void RecordTable::Remove(const RecordPtr& record) {
  record->removed = true;
  records.erase(record->id);
  if (record->parent != nullptr) --record->parent->children;
  if (const auto chain = chains.find(record->layer().chain); chain != chains.end() && chain->second == record->id) chains.erase(chain);
  absl::erase_if(names, [&](const auto& name) { return name.second == record->id; });
}

std::string ChainOf(const std::string& parent_chain, const oci::Digest& diff_id) {
  if (parent_chain.empty()) return diff_id.str();
  return oci::Digest::Of(absl::StrCat(parent_chain, " ", diff_id.str())).str();
}

absl::StatusOr<RecordTable> LoadRecords(Connection& connection) {
  RecordTable table;
  absl::flat_hash_map<SnapshotId, SnapshotId> parents;
  {
    ASSIGN_OR_RETURN(Statement query,
                     connection.Prepare("SELECT id, directory, parent, state, deletes_elsewhere, kept, chain, diff_id, size, created_us, used_us, "
                                        "usage_count, description, record_type FROM snapshots"));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, query.Step());
      if (!row) break;
      auto record = std::make_shared<Record>();
      record->id = query.Text(0);
      record->directory = query.Int(1);
      parents[record->id] = query.Text(2);
      record->state = static_cast<State>(query.Int(3));
      record->deletes_elsewhere = query.Int(4) != 0;
      record->kept = query.Int(5) != 0;
      record->persisted = true;
      KnownLayer layer;
      layer.chain = query.Text(6);
      ASSIGN_OR_RETURN(layer.diff_id, ParseOptional(query.Text(7)));
      if (!layer.chain.empty() || !layer.diff_id.empty()) record->SetLayer(std::move(layer));
      record->size = query.Int(8);
      record->created_at = FromMicros(query.Int(9));
      record->used_at = FromMicros(query.Int(10));
      record->usage_count = static_cast<int>(query.Int(11));
      record->label = {query.Text(12), query.Text(13)};
      table.records[record->id] = record;
    }
  }
  std::vector<RecordPtr> all;
  for (const auto& [id, record] : table.records) {
    if (const SnapshotId& parent = parents[id]; !parent.empty()) {
      const auto found = table.records.find(parent);
      if (found == table.records.end()) return absl::DataLossError(absl::StrCat("snapshot ", id, ": its parent ", parent, " is missing"));
      record->parent = found->second;
    }
    all.push_back(record);
  }
  for (const RecordPtr& record : all) {
    table.Add(record);
    table.last_directory = std::max(table.last_directory, record->directory);
  }
  RETURN_IF_ERROR(LoadLayers(connection, table));
  RETURN_IF_ERROR(LoadNames(connection, table));
  return table;
}

absl::Status SaveRecord(Connection& connection, const Record& record) {
  // The mark of durability goes with every change of state: other files count then.
  return connection.Run(
      "INSERT INTO snapshots (id, directory, parent, state, deletes_elsewhere, kept, chain, diff_id, size, created_us, used_us, usage_count, "
      "description, record_type)"
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT (id) DO UPDATE SET directory = ?2,"
      " durable = CASE WHEN state = ?4 THEN durable ELSE 0 END, state = ?4, deletes_elsewhere = ?5, kept = ?6, chain = ?7, diff_id = ?8, size = ?9,"
      " used_us = ?11, usage_count = ?12, description = ?13, record_type = ?14",
      record.id, record.directory, record.parent == nullptr ? std::string() : record.parent->id, static_cast<int>(record.state),
      record.deletes_elsewhere, record.kept, record.layer().chain, record.layer().diff_id.str(), record.size, ToMicros(record.created_at),
      ToMicros(record.used_at), record.usage_count, record.label.description, record.label.record_type);
}

absl::Status SaveLayer(Connection& connection, const SnapshotId& id, const std::string& form, const LayerBlob& layer) {
  RETURN_IF_ERROR(
      connection.Run("INSERT OR REPLACE INTO snapshot_layers (snapshot, form, media_type, digest, size, annotations, sources)"
                     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                     id, form, layer.descriptor.media_type, layer.descriptor.digest.str(), layer.descriptor.size,
                     store::Bytes{EncodeAnnotations(layer.descriptor.annotations)}, absl::StrJoin(layer.sources, "\n")));
  return store::OwnBlob(connection, absl::StrCat("snapshot/", id), layer.descriptor.digest);
}

absl::Status DeleteRecord(Connection& connection, const SnapshotId& id) {
  RETURN_IF_ERROR(store::CacheIndex::DropSnapshot(connection, id));
  RETURN_IF_ERROR(store::DisownBlobs(connection, absl::StrCat("snapshot/", id)));
  RETURN_IF_ERROR(connection.Run("DELETE FROM snapshot_names WHERE snapshot = ?1", id));
  RETURN_IF_ERROR(connection.Run("DELETE FROM snapshot_layers WHERE snapshot = ?1", id));
  RETURN_IF_ERROR(connection.Run("DELETE FROM snapshot_checksums WHERE snapshot = ?1", id));
  return connection.Run("DELETE FROM snapshots WHERE id = ?1", id);
}

}  // namespace cachalot::snapshot
