// The import of one cache, on the side while the build goes on.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/guarded.h"
#include "remotecache/imported_cache.h"
#include "solver/progress.h"

namespace cachalot::build {

// Thread-safe. Destruction waits for the import; `cancel` ends it early.
class CacheImport {
 public:
  CacheImport(std::string type, remotecache::Attributes attributes, remotecache::Places places, Clock* clock,
              std::shared_ptr<solver::ProgressSink> progress, CancelToken cancel);
  ~CacheImport();

  // What imports of the same cache have in common, as clients know it.
  static std::string NameOf(const std::string& type, const remotecache::Attributes& attributes);

  // Waits for the cache. Null when it could not be had: clients have seen why, and builds go on without it.
  remotecache::ImportedCache* Get();

 private:
  struct State {
    bool done = false;
    std::unique_ptr<remotecache::ImportedCache> cache;
  };
  void Load(const std::string& type, const remotecache::Attributes& attributes, const remotecache::Places& places, Clock* clock,
            const std::shared_ptr<solver::ProgressSink>& progress, const CancelToken& cancel);

  Guarded<State> state_;
  std::thread thread_;
};

}  // namespace cachalot::build
