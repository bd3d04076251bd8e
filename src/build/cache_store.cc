#include "build/cache_store.h"

#include <memory>

#include "base/status_macros.h"
#include "op/result.h"

namespace cachalot::build {

absl::StatusOr<solver::ResultPtr> CacheStore::Load(const std::string& key) {
  ASSIGN_OR_RETURN(const std::optional<std::string> id, index_->ResultOf(key));
  if (!id.has_value()) return solver::ResultPtr();
  if (id->empty()) return std::make_shared<op::TreeResult>(nullptr);
  ASSIGN_OR_RETURN(snapshot::SnapshotPtr tree, snapshots_->Get(*id));
  if (tree != nullptr) return std::make_shared<op::TreeResult>(std::move(tree));
  RETURN_IF_ERROR(index_->DropResult(key));
  return solver::ResultPtr();
}

absl::Status CacheStore::Save(const std::string& key, const solver::ResultPtr& result) {
  const auto* tree = static_cast<const op::TreeResult*>(result.get());
  // A local source's tree changes with the next build.
  if (tree != nullptr && !tree->committed()) return absl::OkStatus();
  const snapshot::SnapshotPtr& snapshot = op::TreeOf(result);
  return index_->SaveResult(key, snapshot == nullptr ? "" : snapshot->id());
}

absl::StatusOr<std::string> CacheStore::Alias(const std::string& definition_key) { return index_->Alias(definition_key); }

absl::Status CacheStore::SaveAlias(const std::string& definition_key, const std::string& content_key) {
  return index_->SaveAlias(definition_key, content_key);
}

}  // namespace cachalot::build
