// The persistent side of the solver's cache: results and aliases by key. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "store/database.h"

namespace cachalot::store {

class CacheIndex {
 public:
  // `database` (of OpenMetadata) outlives the index.
  explicit CacheIndex(Database* database) : database_(database) {}

  struct Result {
    std::string snapshot;  // id; "" is scratch
    absl::Time created_at;
  };
  absl::StatusOr<std::optional<Result>> ResultOf(const std::string& key);
  // `parts`: of the key; see AnyHas.
  absl::Status SaveResult(const std::string& key, const Result& result, const std::vector<std::int64_t>& parts = {});
  absl::Status DropResult(const std::string& key);

  // What else is known under `key`, as one line of text: what a vertex reads, what a URL answered. "" when there is nothing.
  absl::StatusOr<std::string> Alias(const std::string& key);
  absl::Status SaveAlias(const std::string& key, const std::string& value, const std::vector<std::int64_t>& parts = {});

  // Whether a result or an alias was saved with all these parts (one at least) and is still there.
  absl::StatusOr<bool> AnyHas(const std::vector<std::int64_t>& parts);

  // Forgets all results that are this snapshot; for use in a transaction that deletes it. Aliases stay: what rests on a result
  // can be found by them when that result is gone.
  static absl::Status DropSnapshot(Connection& connection, const std::string& snapshot);

 private:
  Database* database_;
};

}  // namespace cachalot::store
