// Work that several builds may want at the same time, done once.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "base/cancel.h"
#include "base/guarded.h"

namespace cachalot::snapshot {

// Thread-safe.
class Flights {
 public:
  // Runs `work` unless work of the same name is under way: then waits for it. When that fails, `work` is tried after all, so
  // that nobody gets an error that belongs to another build (its cancellation, its credentials). `work` checks for itself
  // whether anything is left to do.
  absl::Status Once(const std::string& name, const CancelToken& cancel, const std::function<absl::Status()>& work);

 private:
  struct Flight {
    bool landed = false;
    absl::Status status;
  };
  using Board = absl::flat_hash_map<std::string, std::shared_ptr<Flight>>;
  Guarded<Board> board_;
};

}  // namespace cachalot::snapshot
