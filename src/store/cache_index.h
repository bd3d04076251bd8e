// The persistent side of the solver's cache: results, aliases and links by key. Thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "store/database.h"

namespace cachalot::store {

class CacheIndex {
 public:
  // `database` (of OpenMetadata) outlives the index.
  explicit CacheIndex(Database* database) : database_(database) {}

  // The id of the snapshot that is the result of `key` ("" is scratch), or nothing.
  absl::StatusOr<std::optional<std::string>> ResultOf(const std::string& key);
  absl::Status SaveResult(const std::string& key, const std::string& snapshot);
  absl::Status DropResult(const std::string& key);

  // The content key that `definition_key` stands for, or "".
  absl::StatusOr<std::string> Alias(const std::string& definition_key);
  absl::Status SaveAlias(const std::string& definition_key, const std::string& content_key);

  // One way in which a key came to be.
  struct Link {
    std::string op_digest;
    int output = 0;
    std::vector<std::string> input_keys;
    std::vector<std::string> selectors;  // one per input

    friend bool operator==(const Link&, const Link&) = default;
  };
  absl::Status SaveLink(const std::string& key, const Link& link);
  absl::StatusOr<std::vector<Link>> LinksOf(const std::string& key);

  // Forgets all results that are one of these snapshots, with the aliases and links that led to them alone. For use in a
  // transaction that deletes the snapshots.
  static absl::Status DropSnapshot(Connection& connection, const std::string& snapshot);

 private:
  Database* database_;
};

}  // namespace cachalot::store
