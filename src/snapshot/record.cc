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

#define RECORD_COLUMNS                                                                                              \
  "id, directory, parent, state, deletes_elsewhere, kept, chain, diff_id, size, created_us, used_us, usage_count, " \
  "description, record_type, durable, rebased"

absl::Status LoadBlobs(Connection& connection, const SnapshotId& id, std::map<std::string, LayerBlob>& blobs) {
  ASSIGN_OR_RETURN(Statement query,
                   connection.Prepare("SELECT form, media_type, digest, size, annotations, sources FROM snapshot_layers WHERE snapshot = ?1"));
  query.Bind(id);
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return absl::OkStatus();
    LayerBlob& blob = blobs[query.Text(0)];
    blob.descriptor.media_type = query.Text(1);
    ASSIGN_OR_RETURN(blob.descriptor.digest, oci::Digest::Parse(query.Text(2)));
    blob.descriptor.size = query.Int(3);
    blob.descriptor.annotations = DecodeAnnotations(query.Text(4));
    blob.sources = absl::StrSplit(query.Text(5), '\n', absl::SkipEmpty());
  }
}

absl::StatusOr<Row> LoadRow(Connection& connection, const Statement& query) {
  Row row{std::make_shared<Record>(), query.Text(2)};
  Record& record = *row.record;
  record.id = query.Text(0);
  record.directory = query.Int(1);
  record.state = static_cast<State>(query.Int(3));
  record.deletes_elsewhere = query.Int(4) != 0;
  record.kept = query.Int(5) != 0;
  record.rebased = query.Int(15) != 0;
  record.persisted = true;
  KnownLayer layer;
  layer.chain = query.Text(6);
  ASSIGN_OR_RETURN(layer.diff_id, ParseOptional(query.Text(7)));
  if (!layer.diff_id.empty()) {
    RETURN_IF_ERROR(LoadBlobs(connection, record.id, layer.blobs));
    record.SetLayer(std::move(layer));
  }
  record.size = query.Int(8);
  record.created_at = FromMicros(query.Int(9));
  record.used_at = FromMicros(query.Int(10));
  record.usage_count = static_cast<int>(query.Int(11));
  record.label = {query.Text(12), query.Text(13)};
  record.synced = record.state == State::kActive && query.Int(14) != 0;
  return row;
}

absl::StatusOr<std::vector<Row>> RowsOf(Connection& connection, Statement query) {
  std::vector<Row> rows;
  while (true) {
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) return rows;
    ASSIGN_OR_RETURN(Row row, LoadRow(connection, query));
    rows.push_back(std::move(row));
  }
}

absl::StatusOr<std::vector<Row>> LoadActiveRows(Connection& connection) {
  ASSIGN_OR_RETURN(Statement query, connection.Prepare("WITH RECURSIVE below (id) AS (SELECT id FROM snapshots WHERE state = 0 UNION "
                                                       "SELECT parent FROM snapshots JOIN below USING (id) WHERE parent <> '') "
                                                       "SELECT " RECORD_COLUMNS " FROM snapshots WHERE id IN below"));
  return RowsOf(connection, std::move(query));
}

absl::Status LoadNames(Connection& connection, RecordTable& table) {
  ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT key, snapshot FROM snapshot_names WHERE snapshot IN (SELECT id FROM snapshots)"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return absl::OkStatus();
    table.names[query.Text(0)] = query.Text(1);
  }
}

}  // namespace

const KnownLayer& Record::layer() const {
  static const KnownLayer* const nothing = new KnownLayer();
  return layer_ == nullptr ? *nothing : *layer_;
}

absl::Time Storable(absl::Time time) { return FromMicros(ToMicros(time)); }

bool Record::Idle() const {
  return persisted && state != State::kActive && !used_changed && !removed && children == 0 && reference.expired() && tree.expired();
}

bool Record::StandsOn(const Record& other) const {
  const Record* record = this;
  while (record != nullptr && record != &other) record = record->parent.get();
  return record != nullptr;
}

RecordPtr RecordTable::OfChain(const std::string& chain) const {
  const auto found = chains.find(chain);
  return found == chains.end() ? nullptr : records.at(found->second);
}

void RecordTable::Add(const RecordPtr& record) {
  records[record->id] = record;
  if (record->parent != nullptr) ++record->parent->children;
  if (const std::string& chain = record->layer().chain; !chain.empty()) chains.try_emplace(chain, record->id);
}

absl::Status RecordTable::Adopt(const std::vector<Row>& rows) {
  absl::flat_hash_map<absl::string_view, const Row*> missing;
  for (const Row& row : rows) {
    if (!records.contains(row.record->id) && !going.contains(row.record->id)) missing.emplace(row.record->id, &row);
  }
  std::vector<const Row*> path;  // upwards the next to be added
  while (!missing.empty()) {
    if (path.empty()) path.push_back(missing.begin()->second);
    const Row& row = *path.back();
    if (const auto below = missing.find(row.parent); below != missing.end()) {
      if (path.size() > missing.size()) return absl::DataLossError(absl::StrCat("snapshot ", row.record->id, " stands on itself"));
      path.push_back(below->second);
      continue;
    }
    if (!row.parent.empty()) {
      const auto parent = records.find(row.parent);
      if (parent == records.end()) return absl::DataLossError(absl::StrCat("snapshot ", row.record->id, ": its parent ", row.parent, " is missing"));
      row.record->parent = parent->second;
    }
    Add(row.record);
    missing.erase(row.record->id);
    path.pop_back();
  }
  return absl::OkStatus();
}

void RecordTable::Drop(const Record& record) {
  if (record.parent != nullptr) --record.parent->children;
  if (const auto chain = chains.find(record.layer().chain); chain != chains.end() && chain->second == record.id) chains.erase(chain);
  ++departures;
  records.erase(record.id);
}

std::vector<std::string> RecordTable::Remove(const RecordPtr& record) {
  record->removed = true;
  std::vector<std::string> its_names;
  absl::erase_if(names, [&](const auto& name) {
    if (name.second != record->id) return false;
    its_names.push_back(name.first);
    return true;
  });
  if (record->persisted) going.insert(record->id);
  Drop(*record);
  return its_names;
}

void RecordTable::PutBack(const RecordPtr& record, const std::vector<std::string>& its_names) {
  record->removed = false;
  going.erase(record->id);
  Add(record);
  for (const std::string& name : its_names) names.try_emplace(name, record->id);
}

void RecordTable::LetGo() {
  if (complete > 0) return;
  std::vector<RecordPtr> idle;
  for (const auto& [id, record] : records) {
    if (record->Idle()) idle.push_back(record);
  }
  for (RecordPtr record : idle) {
    for (; record != nullptr && record->Idle(); record = record->parent) Drop(*record);
  }
  if (records.size() < records.capacity() / 8) records.rehash(0);
}

std::string ChainOf(const std::string& parent_chain, const oci::Digest& diff_id) {
  if (parent_chain.empty()) return diff_id.str();
  return oci::Digest::Of(absl::StrCat(parent_chain, " ", diff_id.str())).str();
}

absl::StatusOr<RecordTable> LoadTable(Connection& connection) {
  RecordTable table;
  ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT max(CAST(directory AS INTEGER)) FROM snapshots"));
  RETURN_IF_ERROR(query.Step().status());
  table.last_directory = query.Int(0);
  RETURN_IF_ERROR(LoadNames(connection, table));
  ASSIGN_OR_RETURN(const std::vector<Row> rows, LoadActiveRows(connection));
  RETURN_IF_ERROR(table.Adopt(rows));
  return table;
}

absl::StatusOr<std::vector<Row>> LoadAllRows(Connection& connection) {
  ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT " RECORD_COLUMNS " FROM snapshots"));
  return RowsOf(connection, std::move(query));
}

absl::StatusOr<std::vector<Row>> LoadRows(Connection& connection, const SnapshotId& id) {
  ASSIGN_OR_RETURN(
      Statement query,
      connection.Prepare("WITH RECURSIVE below (id) AS (SELECT ?1 UNION SELECT parent FROM snapshots JOIN below USING (id) WHERE parent <> '') "
                         "SELECT " RECORD_COLUMNS " FROM snapshots WHERE id IN below"));
  query.Bind(id);
  return RowsOf(connection, std::move(query));
}

absl::StatusOr<SnapshotId> FindChain(Connection& connection, const std::string& chain) {
  ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT id FROM snapshots WHERE chain = ?1 AND chain <> '' LIMIT 1"));
  query.Bind(chain);
  ASSIGN_OR_RETURN(const bool found, query.Step());
  return found ? query.Text(0) : "";
}

absl::StatusOr<std::vector<std::string>> LoadDirectories(Connection& connection) {
  std::vector<std::string> directories;
  ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT directory FROM snapshots"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return directories;
    directories.push_back(query.Text(0));
  }
}

absl::StatusOr<std::vector<Unmeasured>> LoadUnmeasured(Connection& connection) {
  std::vector<Unmeasured> rows;
  ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT id, directory FROM snapshots WHERE state = 1 AND size < 0"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return rows;
    rows.push_back({query.Text(0), query.Int(1)});
  }
}

absl::StatusOr<std::int64_t> SumOfSizes(Connection& connection) {
  ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT (SELECT coalesce(sum(size), 0) FROM snapshots WHERE state <> 0 AND size > 0) + "
                                                       "(SELECT coalesce(sum(blobs.size), 0) FROM snapshot_layers JOIN blobs USING (digest))"));
  RETURN_IF_ERROR(query.Step().status());
  return query.Int(0);
}

absl::Status SaveRecord(Connection& connection, const Record& record) {
  // The mark of durability goes with every change of state: other files count then.
  return connection.Run(
      "INSERT INTO snapshots (id, directory, parent, state, deletes_elsewhere, kept, chain, diff_id, size, created_us, used_us, usage_count, "
      "description, record_type, rebased)"
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT (id) DO UPDATE SET directory = ?2,"
      " durable = CASE WHEN state = ?4 THEN durable ELSE 0 END, state = ?4, deletes_elsewhere = ?5, kept = ?6, chain = ?7, diff_id = ?8, size = ?9,"
      " used_us = ?11, usage_count = ?12, description = ?13, record_type = ?14, rebased = ?15",
      record.id, record.directory, record.parent == nullptr ? std::string() : record.parent->id, static_cast<int>(record.state),
      record.deletes_elsewhere, record.kept, record.layer().chain, record.layer().diff_id.str(), record.size, ToMicros(record.created_at),
      ToMicros(record.used_at), record.usage_count, record.label.description, record.label.record_type, record.rebased);
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
