#include "store/build_records.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "store/local_blobs.h"

namespace cachalot::store {

namespace {

std::string OwnerOf(const std::string& ref) { return absl::StrCat("build/", ref); }

BuildRecord ReadRow(const Statement& row) { return {row.Text(0), absl::FromUnixMicros(row.Int(1)), row.Int(2) != 0, row.Text(3)}; }

}  // namespace

absl::Status BuildRecords::Save(const BuildRecord& record, const std::vector<oci::Digest>& blobs) {
  return database_->Write([&](Connection& connection) -> absl::Status {
    RETURN_IF_ERROR(connection.Run("INSERT OR REPLACE INTO builds (ref, completed_us, pinned, record) VALUES (?1, ?2, ?3, ?4)", record.ref,
                                   absl::ToUnixMicros(record.completed_at), record.pinned ? 1 : 0, Bytes{record.record}));
    RETURN_IF_ERROR(DisownBlobs(connection, OwnerOf(record.ref)));
    for (const oci::Digest& blob : blobs) RETURN_IF_ERROR(OwnBlob(connection, OwnerOf(record.ref), blob));
    return absl::OkStatus();
  });
}

absl::StatusOr<std::optional<BuildRecord>> BuildRecords::Find(const std::string& ref) {
  std::optional<BuildRecord> record;
  RETURN_IF_ERROR(database_->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT ref, completed_us, pinned, record FROM builds WHERE ref = ?1"));
    query.Bind(ref);
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (found) record = ReadRow(query);
    return absl::OkStatus();
  }));
  return record;
}

absl::StatusOr<std::vector<BuildRecord>> BuildRecords::All() {
  std::vector<BuildRecord> records;
  RETURN_IF_ERROR(database_->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT ref, completed_us, pinned, record FROM builds ORDER BY completed_us DESC, ref"));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, query.Step());
      if (!row) return absl::OkStatus();
      records.push_back(ReadRow(query));
    }
  }));
  return records;
}

absl::StatusOr<bool> BuildRecords::Delete(const std::string& ref) {
  bool deleted = false;
  RETURN_IF_ERROR(database_->WriteSetAside([&](Connection& connection) -> absl::Status {
    RETURN_IF_ERROR(connection.Run("DELETE FROM builds WHERE ref = ?1", ref));
    deleted = connection.changes() > 0;
    return DisownBlobs(connection, OwnerOf(ref));
  }));
  return deleted;
}

absl::StatusOr<std::vector<std::string>> BuildRecords::Expired(int keep, absl::Time limit) {
  std::vector<std::string> refs;
  RETURN_IF_ERROR(database_->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query,
                     connection.Prepare("SELECT ref, completed_us FROM builds WHERE pinned = 0 ORDER BY completed_us DESC, ref LIMIT -1 OFFSET ?1"));
    query.Bind(keep);
    while (true) {
      ASSIGN_OR_RETURN(const bool row, query.Step());
      if (!row) return absl::OkStatus();
      if (query.Int(1) < absl::ToUnixMicros(limit)) refs.push_back(query.Text(0));
    }
  }));
  return refs;
}

}  // namespace cachalot::store
