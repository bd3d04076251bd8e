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

// Opens <root>/metadata.db with all tables. After a boot of the machine, what is not known to be on disk is dropped (see durability.h).
// A broken file is moved aside, with a word in the log, and a new one begun.
absl::StatusOr<std::unique_ptr<Database>> OpenMetadata(const std::string& root);

}  // namespace cachalot::store
