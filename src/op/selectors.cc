#include "op/selectors.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "oci/digest.h"
#include "op/cache_digest.h"
#include "op/layer_fetcher.h"
#include "op/result.h"
#include "op/source_tree.h"

namespace cachalot::op {
namespace {

bool IsPlain(const Selector& selector) { return !selector.wildcard && selector.include_patterns.empty() && selector.exclude_patterns.empty(); }

void AddOutermost(const std::set<std::string>& paths, bool follow_links, std::vector<Selector>& out) {
  for (const std::string& path : paths) {
    const bool covered = std::any_of(paths.begin(), paths.end(), [&](const std::string& other) { return other != path && IsBeneath(path, other); });
    if (covered) continue;
    Selector selector;
    selector.path = path;
    selector.follow_links = follow_links;
    out.push_back(std::move(selector));
  }
}

absl::StatusOr<std::string> DigestOne(snapshot::Snapshots& snapshots, const snapshot::SnapshotPtr& tree, const Selector& selector) {
  const std::string path = RootedPath(selector.path);
  if (tree == nullptr) {
    if (path == "/" || selector.wildcard) return oci::Digest::Of("").str();
    return absl::NotFoundError(absl::StrCat(path, ": no such file or directory"));
  }
  if (!selector.required_paths.empty()) {
    ASSIGN_OR_RETURN(const std::unique_ptr<SourceTree> source, SourceTree::Open(snapshots, tree));
    for (const std::string& required : selector.required_paths) {
      if (!source->Lstat(RootedPath(required)).ok()) return absl::NotFoundError(absl::StrCat("\"", required, "\": not found"));
    }
  }
  snapshot::Snapshots::ChecksumOptions options;
  options.path = path;
  options.wildcard = selector.wildcard;
  options.follow_links = selector.follow_links;
  options.include_patterns = selector.include_patterns;
  options.exclude_patterns = selector.exclude_patterns;
  ASSIGN_OR_RETURN(const oci::Digest digest, snapshots.Checksum(tree, options));
  return digest.str();
}

}  // namespace

std::vector<Selector> Deduplicate(const std::vector<Selector>& selectors) {
  std::set<std::string> plain, followed;
  for (const Selector& selector : selectors) {
    if (IsPlain(selector)) (selector.follow_links ? followed : plain).insert(selector.path);
  }
  std::vector<Selector> result;
  AddOutermost(plain, false, result);
  AddOutermost(followed, true, result);
  std::copy_if(selectors.begin(), selectors.end(), std::back_inserter(result), [](const Selector& s) { return !IsPlain(s); });
  std::stable_sort(result.begin(), result.end(), [](const Selector& a, const Selector& b) { return a.path < b.path; });
  return result;
}

absl::StatusOr<std::string> DigestSelected(const Environment& environment, const std::vector<Selector>& selectors, const solver::ResultPtr& input,
                                           const CancelToken& cancel) {
  const snapshot::SnapshotPtr& tree = TreeOf(input);
  RETURN_IF_ERROR(MaterializeAll(environment, {input}, cancel));
  std::vector<std::string> digests;
  for (const Selector& selector : selectors.empty() ? std::vector<Selector>(1) : selectors) {
    absl::StatusOr<std::string> digest = DigestOne(*environment.parts.snapshots, tree, selector);
    if (!digest.ok())
      return Annotate(digest.status(), absl::StrCat("failed to calculate checksum of ref ", tree == nullptr ? "scratch" : tree->id()));
    digests.push_back(*std::move(digest));
  }
  return DigestOfList(digests);
}

absl::Status MaterializeAll(const Environment& environment, const std::vector<solver::ResultPtr>& inputs, const CancelToken& cancel) {
  for (const solver::ResultPtr& input : inputs) {
    const auto* tree = static_cast<const TreeResult*>(input.get());
    if (tree == nullptr || tree->snapshot() == nullptr || !tree->committed()) continue;
    absl::Status status = environment.parts.snapshots->Materialize(tree->snapshot(), *environment.layers, cancel);
    if (absl::IsNotFound(status)) status.SetPayload(solver::kLostInputPayload, absl::Cord());
    RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

}  // namespace cachalot::op
