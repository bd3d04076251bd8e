// Checksums of selected content: which paths count, in BuildKit's order and notation.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/path.h"
#include "base/pattern_matcher.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "codec/sha256.h"
#include "snapshot/checksum_tree.h"
#include "snapshot/local_snapshots.h"

namespace cachalot::snapshot {

namespace {

using ChecksumOptions = Snapshots::ChecksumOptions;

absl::Status NotFound(absl::string_view path) { return absl::NotFoundError(absl::StrCat("\"", path, "\": not found")); }

std::string DigestOfNothing() { return DigestText(codec::Sha256().FinishBytes()); }

// "" for the root, else "/a/b".
std::string KeyPath(absl::string_view path) {
  std::string rooted = RootedPath(path);
  return rooted == "/" ? "" : rooted;
}

// The components of `path` before the first with a wildcard.
std::string BeforeWildcards(const std::string& path) {
  std::string before;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (HasWildcards(part)) break;
    absl::StrAppend(&before, "/", part);
  }
  return before;
}

bool StartsWithDirectory(absl::string_view path, absl::string_view directory) {
  return absl::StartsWith(path, directory) && path.size() > directory.size() && path[directory.size()] == '/';
}

// Finds what a selection covers. Directories count by their own headers, and only when something in them is selected or they
// are themselves.
class Selection {
 public:
  struct Item {
    std::string path;  // as the selection names it
    std::string real;  // without links
    ChecksumNode* node;
    bool follow;
  };

  Selection(const ChecksumOptions& options, std::string pattern) : options_(options), pattern_(std::move(pattern)) {}

  absl::Status Prepare() {
    if (!options_.include_patterns.empty()) {
      ASSIGN_OR_RETURN(PatternMatcher matcher, PatternMatcher::Create(options_.include_patterns));
      include_ = std::make_unique<PatternMatcher>(std::move(matcher));
    }
    if (!options_.exclude_patterns.empty()) {
      ASSIGN_OR_RETURN(PatternMatcher matcher, PatternMatcher::Create(options_.exclude_patterns));
      exclude_ = std::make_unique<PatternMatcher>(std::move(matcher));
    }
    if (options_.wildcard) {
      ASSIGN_OR_RETURN(PathPattern glob, PathPattern::Parse(pattern_, PathPattern::Dialect::kGlob));
      glob_ = std::make_unique<PathPattern>(std::move(glob));
    }
    return absl::OkStatus();
  }

  void Visit(ChecksumNode* node, const std::string& path, const std::string& real) {
    Parent self{path, real, node, {}, {}, false};
    const bool skip_header = node->IsDirectory() && path == pattern_ && absl::EndsWith(options_.path, "/");
    std::string candidate;
    const bool considered = !skip_header && Candidate(path, &candidate);
    const bool follow = parents_.empty() && options_.follow_links;
    if (considered && Selected(candidate, self)) Take({path, real, node, follow}, &self);
    if (!node->IsDirectory()) return;
    if (considered) parents_.push_back(std::move(self));
    for (const auto& child : node->children) Visit(child.get(), absl::StrCat(path, "/", child->name), absl::StrCat(real, "/", child->name));
    if (considered) parents_.pop_back();
  }

  std::vector<Item>& items() { return items_; }

 private:
  struct Parent {
    std::string path, real;
    ChecksumNode* node;
    PatternMatcher::ParentMatches include, exclude;
    bool taken;
  };

  // What the patterns are asked about: the path beneath the selected one. False when the wildcard does not select it.
  bool Candidate(const std::string& path, std::string* candidate) {
    absl::string_view base = pattern_;
    if (options_.wildcard) {
      if (!pattern_.empty() && (matched_.empty() || !StartsWithDirectory(path, matched_))) {
        if (!glob_->Matches(path)) return false;
        matched_ = path;
      }
      base = matched_;
    }
    *candidate = StartsWithDirectory(path, base) ? path.substr(base.size() + 1) : path == base ? "" : path;
    return true;
  }

  bool Selected(const std::string& candidate, Parent& self) const {
    static const PatternMatcher::ParentMatches kNone;
    const Parent* parent = parents_.empty() ? nullptr : &parents_.back();
    if (include_ != nullptr && !include_->Matches(candidate, parent == nullptr ? kNone : parent->include, &self.include)) return false;
    if (exclude_ != nullptr && exclude_->Matches(candidate, parent == nullptr ? kNone : parent->exclude, &self.exclude)) return false;
    // A file that the wildcard gave is left out by its own name, as a copy does.
    const bool by_name = options_.wildcard && exclude_ != nullptr && candidate.empty() && !self.node->IsDirectory();
    return !by_name || !exclude_->Matches(BaseName(self.path));
  }

  void Take(Item item, Parent* self) {
    for (Parent& parent : parents_) {
      if (std::exchange(parent.taken, true)) continue;
      items_.push_back({parent.path, parent.real, parent.node, false});
    }
    self->taken = true;
    items_.push_back(std::move(item));
  }

  const ChecksumOptions& options_;
  const std::string pattern_;
  std::unique_ptr<PatternMatcher> include_, exclude_;
  std::unique_ptr<PathPattern> glob_;
  std::vector<Parent> parents_;
  std::string matched_;  // the last directory or file that the wildcard matched
  std::vector<Item> items_;
};

absl::StatusOr<std::string> DigestOfPath(ChecksumTree& tree, const std::string& path, bool follow) {
  std::string real;
  ASSIGN_OR_RETURN(ChecksumNode* const node, tree.Resolve(path, follow, &real));
  if (node == nullptr) return NotFound(path.empty() ? "/" : path);
  return tree.DigestOf(node, real);
}

absl::StatusOr<std::string> DigestOfSelection(ChecksumTree& tree, const ChecksumOptions& options) {
  const std::string pattern = KeyPath(options.path);
  const std::string prefix = options.wildcard ? BeforeWildcards(pattern) : pattern;
  Selection selection(options, pattern);
  RETURN_IF_ERROR(selection.Prepare());
  std::string real;
  // The last component is followed only when a wildcard comes after it.
  ASSIGN_OR_RETURN(ChecksumNode* const top, tree.Resolve(prefix, options.wildcard && prefix != pattern, &real));
  if (top == nullptr) return DigestOfNothing();
  RETURN_IF_ERROR(tree.List(top, real));
  selection.Visit(top, prefix, real);
  std::vector<Selection::Item>& items = selection.items();
  std::vector<std::pair<ChecksumNode*, std::string>> nodes;
  for (const Selection::Item& item : items) nodes.emplace_back(item.node, item.real);
  RETURN_IF_ERROR(tree.Hash(nodes));
  std::vector<std::string> digests;
  for (const Selection::Item& item : items) {
    if (item.follow && item.node->IsLink()) {
      ASSIGN_OR_RETURN(std::string digest, DigestOfPath(tree, item.real, true));
      digests.push_back(std::move(digest));
    } else {
      digests.push_back(DigestText(item.node->digest));
    }
  }
  if (items.empty()) return DigestOfNothing();
  if (items.size() == 1 && BaseName(options.path) == BaseName(items[0].path)) return digests[0];
  codec::Sha256 hash;
  for (std::size_t i = 0; i < items.size(); ++i) {
    absl::string_view path = items[i].path;
    if (absl::StartsWith(path, prefix)) path.remove_prefix(prefix.size());
    std::string key = absl::StrReplaceAll(path, {{"/", absl::string_view("\0", 1)}});
    hash.Update(key.empty() ? absl::string_view("\0", 1) : absl::string_view(key));
    hash.Update(digests[i]);
  }
  return DigestText(hash.FinishBytes());
}

}  // namespace

absl::StatusOr<oci::Digest> LocalSnapshots::Checksum(const SnapshotPtr& snapshot, const ChecksumOptions& options) {
  const RecordPtr record = RecordOf(snapshot);
  if (record == nullptr) {
    if (options.path == "/") return oci::Digest::Of("");
    return absl::NotFoundError(absl::StrCat(options.path, ": no such file or directory"));
  }
  bool immutable = false, client_directory = false;
  {
    auto table = table_.Lock();
    immutable = record->state == State::kCommitted;
    client_directory = record->label.record_type == "source.local";
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<ChecksumCache::Slot> slot, checksums_.Get(record->id, immutable));
  std::lock_guard lock(slot->mutex);
  std::shared_ptr<MountedTree> mounted;  // only when something is not known yet
  const auto mount = [&]() -> absl::StatusOr<std::string> {
    ASSIGN_OR_RETURN(mounted, MountTree(snapshot, true));
    return mounted->path();
  };
  if (slot->unfinished > 0) slot->tree->NoteChanges(nullptr);
  slot->tree->Begin(mount, client_directory ? ChecksumTree::Origin::kClientDirectory : ChecksumTree::Origin::kLayers, options_.cpu);
  const bool plain = !options.wildcard && options.include_patterns.empty() && options.exclude_patterns.empty();
  absl::StatusOr<std::string> digest =
      plain ? DigestOfPath(*slot->tree, KeyPath(options.path), options.follow_links) : DigestOfSelection(*slot->tree, options);
  slot->tree->End();
  RETURN_IF_ERROR(digest.status());
  RETURN_IF_ERROR(checksums_.Used(record->id, immutable, *slot));
  return oci::Digest::Parse(*digest);
}

}  // namespace cachalot::snapshot
