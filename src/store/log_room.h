// Room for the database's write-ahead log that is taken from the disk before it is needed: what frees space has to be written first,
// when none is left.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "base/unique_fd.h"

namespace cachalot::store {

// Used under one lock. Without effect on file systems that cannot set room aside.
class LogRoom {
 public:
  // `path` is the log's; it need not exist yet.
  explicit LogRoom(std::string path) : path_(std::move(path)) {}

  // Sets room aside behind the first `used` bytes of the log. RESOURCE_EXHAUSTED when the disk has none.
  absl::Status Ensure(std::int64_t used);

  // Gives back what was set aside in the log at `path`: a full disk has no other room for a database that is to be opened.
  static void GiveBack(const std::string& path);

 private:
  const std::string path_;
  UniqueFd log_;
};

}  // namespace cachalot::store
