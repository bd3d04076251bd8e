// What one build finds cached: the engine's memory, and behind it the caches that the build imports.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/guarded.h"
#include "build/cache_import.h"
#include "build/cache_store.h"
#include "op/environment.h"
#include "remotecache/cache_exporter.h"
#include "solver/solver.h"

namespace cachalot::build {

// Thread-safe.
class BuildCache : public solver::CacheStore {
 public:
  // `environment` is the build's; its parts outlive the cache.
  BuildCache(op::EnvironmentPtr environment, CancelToken cancel);

  // Begins to import a cache, unless the build does so already. What is wrong with it shows in the build's progress only.
  void Import(const std::string& type, const remotecache::Attributes& attributes);

  absl::StatusOr<solver::ResultPtr> Load(const solver::CacheKeyPtr& key, int output) override;
  absl::Status Save(const solver::CacheKeyPtr& key, int output, const solver::ResultPtr& result) override { return local_.Save(key, output, result); }
  absl::StatusOr<Contents> LoadContents(const solver::CacheKeyPtr& definition, const std::vector<int>& outputs) override;
  absl::Status SaveContents(const solver::CacheKeyPtr& definition, const std::vector<std::string>& contents) override {
    return local_.SaveContents(definition, contents);
  }
  absl::StatusOr<bool> MayHaveContents(const solver::PartialKey& known, const std::vector<int>& outputs) override;
  absl::StatusOr<bool> MayHaveResult(const solver::PartialKey& known, const std::vector<int>& outputs) override;

  // The caches that could be imported. Waits for them.
  std::vector<remotecache::ImportedCache*> Imported();

 private:
  bool AnyImportedFits(const solver::PartialKey& known, const std::vector<int>& outputs);
  absl::StatusOr<solver::ResultPtr> Adopt(remotecache::ImportedCache& cache, const solver::CacheKeyPtr& key, int output,
                                          const remotecache::CachedLayers& result);
  absl::Status RememberPrefixes(remotecache::ImportedCache& cache, const solver::CacheKeyPtr& key, const remotecache::CachedLayers& result,
                                const std::vector<snapshot::SnapshotPtr>& trees);

  const op::EnvironmentPtr environment_;
  const CancelToken cancel_;
  build::CacheStore local_;
  Guarded<std::map<std::string, std::unique_ptr<CacheImport>>> imports_;  // by name
};

}  // namespace cachalot::build
