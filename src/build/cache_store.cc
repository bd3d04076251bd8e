#include "build/cache_store.h"

#include <cstdint>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "op/result.h"

namespace cachalot::build {
namespace {

// Contents as the index keeps them: digests, or a dash for an input that counts by its key.
constexpr char kByKey[] = "-";

// One of a key's parts as the index keeps it. That two are the same by chance only makes an answer less sharp.
std::int64_t Part(const char* kind, const std::string& op_digest, std::size_t input, absl::string_view value) {
  std::uint64_t part = 0;
  for (const char digit : Sha256Hex(absl::StrCat(kind, " ", op_digest, " ", input, " ", value)).substr(0, 16)) {
    part = part << 4 | static_cast<std::uint64_t>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
  }
  return static_cast<std::int64_t>(part);
}

// The operation itself, and each input that is known.
std::vector<std::int64_t> PartsOf(const char* kind, const std::string& op_digest, const std::vector<solver::KeyInput>& inputs) {
  std::vector<std::int64_t> parts;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const solver::KeyInput& input = inputs[i];
    if (!input.content.empty()) {
      parts.push_back(Part(kind, op_digest, i, input.content));
    } else if (input.vertex != nullptr) {
      parts.push_back(Part(kind, op_digest, i, absl::StrCat(solver::OutputKey(input.vertex->id, input.output), " ", input.selector)));
    }
  }
  parts.push_back(Part(kind, op_digest, inputs.size(), ""));
  return parts;
}

constexpr char kContents[] = "contents";
constexpr char kResult[] = "result";

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
  return SaveSnapshot(*key, output, {snapshot == nullptr ? "" : snapshot->id(), absl::Now()});
}

absl::Status CacheStore::SaveSnapshot(const solver::CacheKey& key, int output, const store::CacheIndex::Result& result) {
  return index_->SaveResult(solver::OutputKey(key.id, output), result, PartsOf(kResult, key.op_digest, key.inputs));
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
  return index_->SaveAlias(ContentsKey(*definition), absl::StrJoin(contents, " ", format),
                           PartsOf(kContents, definition->op_digest, definition->inputs));
}

absl::StatusOr<bool> CacheStore::MayHaveContents(const solver::PartialKey& known, const std::vector<int>&) {
  return index_->AnyHas(PartsOf(kContents, known.op_digest, known.inputs));
}

absl::StatusOr<bool> CacheStore::MayHaveResult(const solver::PartialKey& known, const std::vector<int>&) {
  return index_->AnyHas(PartsOf(kResult, known.op_digest, known.inputs));
}

}  // namespace cachalot::build
