// Records come into memory when somebody wants them, and go some time after.
#include <utility>

#include "base/status_macros.h"
#include "snapshot/local_snapshots.h"

namespace cachalot::snapshot {

absl::StatusOr<SnapshotPtr> LocalSnapshots::Find(const SnapshotId& id) {
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
