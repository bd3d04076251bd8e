// Records come into memory when somebody wants them, and go some time after.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "snapshot/local_snapshots.h"

namespace cachalot::snapshot {

absl::StatusOr<SnapshotPtr> LocalSnapshots::Find(const SnapshotId& id) {
  ASSIGN_OR_RETURN(SnapshotPtr snapshot, FindRecord(id));
  if (snapshot == nullptr) return snapshot;
  const RecordPtr lost = FindLost(RecordOf(snapshot));
  if (lost == nullptr) return snapshot;
  LogWarning("the files of snapshot ", lost->id, " are gone: it is made anew when it is needed, with what stands on it");
  snapshot.reset();
  RETURN_IF_ERROR(DropLost(lost));
  return nullptr;
}

RecordPtr LocalSnapshots::FindLost(const RecordPtr& top) {
  std::vector<RecordPtr> unseen;
  {
    auto table = table_.Lock();
    for (RecordPtr record = top; record != nullptr && !record->seen; record = record->parent) unseen.push_back(record);
  }
  for (; !unseen.empty(); unseen.pop_back()) {
    if (IsLost(unseen.back())) return unseen.back();
    auto table = table_.Lock();
    unseen.back()->seen = true;
  }
  return nullptr;
}

bool LocalSnapshots::IsLost(const RecordPtr& record) {
  bool lazy = false, deletes_elsewhere = false;
  KnownLayer layer;
  {
    auto table = table_.Lock();
    lazy = record->state == State::kLazy;
    deletes_elsewhere = record->deletes_elsewhere;
    layer = record->layer();
  }
  if (lazy) return std::none_of(layer.blobs.begin(), layer.blobs.end(), [&](const auto& entry) { return IsInReach(entry.second); });
  const auto missing = [](const std::string& path) { return ::access(path.c_str(), F_OK) != 0 && errno == ENOENT; };
  return missing(LayerPath(*record)) || (deletes_elsewhere && missing(DeletionsPath(*record)));
}

absl::Status LocalSnapshots::DropLost(const RecordPtr& lost) {
  return WithAllRecords([&]() -> absl::Status {
    while (true) {
      std::vector<Candidate> candidates;
      {
        auto table = table_.Lock();
        for (const auto& [id, record] : table->records) {
          if (record->StandsOn(*lost) && record->children == 0 && record->reference.expired()) candidates.push_back({record, UsageOf(*record)});
        }
      }
      std::vector<oci::Digest> dropped;
      ASSIGN_OR_RETURN(const std::vector<UsageRecord> deleted, Delete(candidates, &dropped));
      if (deleted.empty()) return absl::OkStatus();
    }
  });
}

absl::StatusOr<SnapshotPtr> LocalSnapshots::FindRecord(const SnapshotId& id) {
  while (true) {
    std::int64_t departures = 0;
    {
      auto table = table_.Lock();
      if (const auto found = table->records.find(id); found != table->records.end()) return Refer(found->second);
      if (table->going.contains(id)) return nullptr;
      departures = table->departures;
    }
    std::vector<Row> rows;
    RETURN_IF_ERROR(options_.database->Read([&](store::Connection& connection) -> absl::Status {
      ASSIGN_OR_RETURN(rows, LoadRows(connection, id));
      return absl::OkStatus();
    }));
    auto table = table_.Lock();
    if (table->departures != departures) continue;
    if (rows.empty()) return nullptr;
    RETURN_IF_ERROR(table->Adopt(rows));
    return Refer(table->records.at(id));
  }
}

absl::StatusOr<SnapshotPtr> LocalSnapshots::FindByChain(const std::string& chain) {
  SnapshotId id;
  {
    auto table = table_.Lock();
    if (const RecordPtr record = table->OfChain(chain); record != nullptr) return Refer(record);
  }
  RETURN_IF_ERROR(options_.database->Read([&](store::Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(id, FindChain(connection, chain));
    return absl::OkStatus();
  }));
  if (id.empty()) return nullptr;
  return Find(id);
}

absl::Status LocalSnapshots::WithAllRecords(const std::function<absl::Status()>& use) {
  ++table_.Lock()->complete;
  const auto load = [this]() -> absl::StatusOr<bool> {
    const std::int64_t departures = table_.Lock()->departures;
    std::vector<Row> rows;
    RETURN_IF_ERROR(options_.database->Read([&](store::Connection& connection) -> absl::Status {
      ASSIGN_OR_RETURN(rows, LoadAllRows(connection));
      return absl::OkStatus();
    }));
    auto table = table_.Lock();
    if (table->departures != departures) return false;
    RETURN_IF_ERROR(table->Adopt(rows));
    return true;
  };
  absl::StatusOr<bool> loaded = false;
  while (loaded.ok() && !*loaded) loaded = load();
  const absl::Status status = loaded.ok() ? use() : loaded.status();
  auto table = table_.Lock();
  --table->complete;
  table->LetGo();
  return status;
}

}  // namespace cachalot::snapshot
