#include "store/cache_index.h"

#include "absl/time/clock.h"
#include "base/status_macros.h"

namespace cachalot::store {
namespace {

absl::Status SaveParts(Connection& connection, const std::string& key, const std::vector<std::int64_t>& parts) {
  for (const std::int64_t part : parts) {
    RETURN_IF_ERROR(connection.Run("INSERT OR IGNORE INTO cache_parts (part, key) VALUES (?1, ?2)", part, key));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> HasAll(Connection& connection, const std::string& key, const std::vector<std::int64_t>& parts) {
  for (const std::int64_t part : parts) {
    ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT 1 FROM cache_parts WHERE part = ?1 AND key = ?2"));
    query.Bind(part, key);
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<std::optional<CacheIndex::Result>> CacheIndex::ResultOf(const std::string& key) {
  std::optional<Result> result;
  RETURN_IF_ERROR(database_->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT snapshot, created_us FROM cache_results WHERE key = ?1"));
    query.Bind(key);
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (found) result = {query.Text(0), absl::FromUnixMicros(query.Int(1))};
    return absl::OkStatus();
  }));
  return result;
}

absl::Status CacheIndex::SaveResult(const std::string& key, const Result& result, const std::vector<std::int64_t>& parts) {
  return database_->Write([&](Connection& connection) -> absl::Status {
    RETURN_IF_ERROR(SaveParts(connection, key, parts));
    return connection.Run("INSERT OR REPLACE INTO cache_results (key, snapshot, created_us) VALUES (?1, ?2, ?3)", key, result.snapshot,
                          absl::ToUnixMicros(result.created_at));
  });
}

absl::Status CacheIndex::DropResult(const std::string& key) {
  return database_->Write([&](Connection& connection) { return connection.Run("DELETE FROM cache_results WHERE key = ?1", key); });
}

absl::StatusOr<std::string> CacheIndex::Alias(const std::string& key) {
  std::string value;
  RETURN_IF_ERROR(database_->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT value FROM cache_aliases WHERE key = ?1"));
    query.Bind(key);
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (found) value = query.Text(0);
    return absl::OkStatus();
  }));
  return value;
}

absl::Status CacheIndex::SaveAlias(const std::string& key, const std::string& value, const std::vector<std::int64_t>& parts) {
  ASSIGN_OR_RETURN(const std::string known, Alias(key));
  if (known == value) return absl::OkStatus();
  return database_->Write([&](Connection& connection) -> absl::Status {
    RETURN_IF_ERROR(SaveParts(connection, key, parts));
    return connection.Run("INSERT OR REPLACE INTO cache_aliases (key, value, created_us) VALUES (?1, ?2, ?3)", key, value,
                          absl::ToUnixMicros(absl::Now()));
  });
}

absl::StatusOr<bool> CacheIndex::AnyHas(const std::vector<std::int64_t>& parts) {
  bool any = false;
  RETURN_IF_ERROR(database_->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT key FROM cache_parts WHERE part = ?1"));
    query.Bind(parts.front());
    while (!any) {
      ASSIGN_OR_RETURN(const bool found, query.Step());
      if (!found) return absl::OkStatus();
      ASSIGN_OR_RETURN(any, HasAll(connection, query.Text(0), parts));
    }
    return absl::OkStatus();
  }));
  return any;
}

absl::Status CacheIndex::DropSnapshot(Connection& connection, const std::string& snapshot) {
  return connection.Run("DELETE FROM cache_results WHERE snapshot = ?1", snapshot);
}

}  // namespace cachalot::store
