// The tables of the metadata database, all in one place: the rooms above use them through store::Database.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "store/database.h"

namespace cachalot::store {

// The scripts for Database::Open. Append only.
const std::vector<std::string>& Migrations();

// Opens <root>/metadata.db with all tables, and drops what cannot be trusted: after the machine went down without a clean stop,
// the rows that were not marked durable (see MarkDurable).
absl::StatusOr<std::unique_ptr<Database>> OpenMetadata(const std::string& root);

// Syncs the file system that holds `root`, then marks all rows durable that existed before. Cheap when there are none.
absl::Status MarkDurable(Database& database, const std::string& root);

// MarkDurable, and a note that the process stopped in order. Nothing may be written afterwards.
absl::Status MarkCleanStop(Database& database, const std::string& root);

}  // namespace cachalot::store
