// The solver's memory, kept in the metadata database.
#pragma once

#include <string>
#include <vector>

#include "snapshot/snapshots.h"
#include "solver/solver.h"
#include "store/cache_index.h"

namespace cachalot::build {

class CacheStore : public solver::CacheStore {
 public:
  CacheStore(store::CacheIndex* index, snapshot::Snapshots* snapshots) : index_(index), snapshots_(snapshots) {}
  absl::StatusOr<solver::ResultPtr> Load(const solver::CacheKeyPtr& key, int output) override;
  absl::Status Save(const solver::CacheKeyPtr& key, int output, const solver::ResultPtr& result) override;
  absl::StatusOr<Contents> LoadContents(const solver::CacheKeyPtr& definition, const std::vector<int>& outputs) override;
  absl::Status SaveContents(const solver::CacheKeyPtr& definition, const std::vector<std::string>& contents) override;
  absl::StatusOr<bool> MayHaveContents(const solver::PartialKey& known, const std::vector<int>& outputs) override;
  absl::StatusOr<bool> MayHaveResult(const solver::PartialKey& known, const std::vector<int>& outputs) override;

  // Save, for a result that has a snapshot already.
  absl::Status SaveSnapshot(const solver::CacheKey& key, int output, const store::CacheIndex::Result& result);

 private:
  store::CacheIndex* const index_;
  snapshot::Snapshots* const snapshots_;
};

}  // namespace cachalot::build
