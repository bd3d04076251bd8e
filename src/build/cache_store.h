// The solver's memory, kept in the metadata database.
#pragma once

#include "snapshot/snapshots.h"
#include "solver/solver.h"
#include "store/cache_index.h"

namespace cachalot::build {

class CacheStore : public solver::CacheStore {
 public:
  CacheStore(store::CacheIndex* index, snapshot::Snapshots* snapshots) : index_(index), snapshots_(snapshots) {}
  absl::StatusOr<solver::ResultPtr> Load(const std::string& key) override;
  absl::Status Save(const std::string& key, const solver::ResultPtr& result) override;
  absl::StatusOr<std::string> Alias(const std::string& definition_key) override;
  absl::Status SaveAlias(const std::string& definition_key, const std::string& content_key) override;

 private:
  store::CacheIndex* const index_;
  snapshot::Snapshots* const snapshots_;
};

}  // namespace cachalot::build
