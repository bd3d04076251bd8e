// What of the state is on disk, without an fsync per step and without a stop that waits for the disk.
//
// Each row of `blobs` and `snapshots` says in `durable` which sync of the file system covers its files and itself: 0 is "none yet". Syncs
// are numbered (meta "sync"), and <root>/synced holds the number of the highest one that has ended. So a row is known to be on disk when
// 0 < durable <= the number in <root>/synced, and nothing need be written into the database after a sync.
//
// While the machine runs none of this matters: the kernel has everything. After a boot (meta "boot_id") the rows that are not known to
// be on disk are dropped, since nothing tells whether the machine was shut down in order or lost its power. A stop in order therefore
// numbers all rows and leaves the sync to a process that outlives it (SyncLater): the disk gets what the kernel would have given it at
// unmount, and the word that it did. A machine that is shut down waits for that process; power that is lost before its end costs what
// was not on disk, never more. Processes that live long sync now and then (MarkDurable).
//
// Two rules keep a row that survives from meaning other files than it meant:
//  - Files of a row that was deleted go, and their names are used again, only after Database::Sync(): a deletion may not be forgotten
//    when its files are gone.
//  - A snapshot that may be changed loses its mark, and Database::Sync() is called, before it is changed. Trees of clients' directories
//    never have one: they change with every other build, and are sent again after a boot.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "store/database.h"

namespace cachalot::store {

enum class Moment {
  kRunning,  // snapshots that may be changed are left out
  kStop,     // nobody changes anything any more
};

// Numbers every row that has no number. Returns the number of the sync that is missing now, 0 if all is on disk.
absl::StatusOr<std::int64_t> NumberVolatile(Database& database, const std::string& root, Moment moment);

// Syncs the file system that holds `root`, and tells <root>/synced. For a number of NumberVolatile.
absl::Status SyncNow(const std::string& root, std::int64_t number);
// The same in a process that outlives this one. The database is closed by then.
absl::Status SyncLater(const std::string& root, std::int64_t number);

// NumberVolatile and SyncNow: all that was committed before is on disk.
absl::Status MarkDurable(Database& database, const std::string& root);

// The number of the highest sync that has ended; waits for one that is under way when `wait`. 1 is covered in any case: rows of a time
// when syncs had no numbers have it.
absl::StatusOr<std::int64_t> LastSync(const std::string& root, bool wait);

}  // namespace cachalot::store
