#include "build/cache_store.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "op/result.h"

namespace cachalot::build {
namespace {

// Contents as the index keeps them: digests, or a dash for an input that counts by its key.
constexpr char kByKey[] = "-";

std::string ContentsKey(const solver::CacheKey& definition) { return absl::StrCat("contents/", definition.id); }

}  // namespace

absl::StatusOr<solver::ResultPtr> CacheStore::Load(const solver::CacheKeyPtr& key, int output) {
  const std::string name = solver::OutputKey(key->id, output);
  ASSIGN_OR_RETURN(const std::optional<store::CacheIndex::Result> known, index_->ResultOf(name));
  if (!known.has_value()) return solver::ResultPtr();
  if (known->snapshot.empty()) return std::make_shared<op::TreeResult>(nullptr);
  ASSIGN_OR_RETURN(snapshot::SnapshotPtr tree, snapshots_->Get(known->snapshot));
  if (tree != nullptr) return std::make_shared<op::TreeResult>(std::move(tree));
  RETURN_IF_ERROR(index_->DropResult(name));
  return solver::ResultPtr();
}

absl::Status CacheStore::Save(const solver::CacheKeyPtr& key, int output, const solver::ResultPtr& result) {
  const auto* tree = static_cast<const op::TreeResult*>(result.get());
  // A local source's tree changes with the next build.
  if (tree != nullptr && !tree->committed()) return absl::OkStatus();
  const snapshot::SnapshotPtr& snapshot = op::TreeOf(result);
  return index_->SaveResult(solver::OutputKey(key->id, output), {snapshot == nullptr ? "" : snapshot->id(), absl::Now()});
}

absl::StatusOr<solver::CacheStore::Contents> CacheStore::LoadContents(const solver::CacheKeyPtr& definition, const std::vector<int>&) {
  ASSIGN_OR_RETURN(const std::string text, index_->Alias(ContentsKey(*definition)));
  if (text.empty()) return Contents();
  std::vector<std::string> contents = absl::StrSplit(text, ' ');
  for (std::string& content : contents) {
    if (content == kByKey) content.clear();
  }
  return contents;
}

absl::Status CacheStore::SaveContents(const solver::CacheKeyPtr& definition, const std::vector<std::string>& contents) {
  const auto format = [](std::string* out, const std::string& content) { *out += content.empty() ? kByKey : content; };
  return index_->SaveAlias(ContentsKey(*definition), absl::StrJoin(contents, " ", format));
}

}  // namespace cachalot::build
