// The builds that ended, kept across restarts for clients that look back: each with a record in the form of whoever writes it,
// and the blobs that the record speaks of.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "oci/digest.h"
#include "store/database.h"

namespace cachalot::store {

struct BuildRecord {
  std::string ref;
  absl::Time completed_at;
  bool pinned = false;  // never expires
  std::string record;
};

// Thread-safe.
class BuildRecords {
 public:
  // `database` (of OpenMetadata) outlives this.
  explicit BuildRecords(Database* database) : database_(database) {}

  // Adds or replaces a record. The blobs live as long as it does.
  absl::Status Save(const BuildRecord& record, const std::vector<oci::Digest>& blobs);
  absl::StatusOr<std::optional<BuildRecord>> Find(const std::string& ref);
  // Newest first.
  absl::StatusOr<std::vector<BuildRecord>> All();
  // False when there was none.
  absl::StatusOr<bool> Delete(const std::string& ref);
  // The refs of records that are neither pinned nor among the `keep` newest of those, and that ended before `limit`.
  absl::StatusOr<std::vector<std::string>> Expired(int keep, absl::Time limit);

 private:
  Database* const database_;
};

}  // namespace cachalot::store
