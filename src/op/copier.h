// Copying trees as COPY does: `cp -a` with filters, owners and modes. Names that share a file in the source share one in the target.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/cancel.h"
#include "base/pattern_matcher.h"
#include "op/attributes.h"
#include "op/file_batch.h"
#include "op/source_tree.h"
#include "op/tree_writer.h"

namespace cachalot::op {

struct CopyRules {
  std::optional<Owner> owner;
  std::optional<mode_t> mode;                 // permissions
  std::optional<SymbolicMode> symbolic_mode;  // wins over mode
  std::optional<struct timespec> time;        // of everything that is made
  bool follow_links = false;                  // in the last component of the source
  bool directory_contents = false;            // a source directory's entries go into the target rather than the directory itself
  bool replace = false;                       // whatever is in the way goes, unless both are directories
  std::optional<PatternMatcher> include, exclude;
};

// Not thread-safe. One per copy action.
class Copier {
 public:
  Copier(SourceTree& source, TreeWriter& target, CopyRules rules, CancelToken cancel)
      : source_(source), target_(target), rules_(std::move(rules)), cancel_(cancel), files_(std::move(cancel)) {}

  // Copies `source` (without wildcards) to `destination`. A destination that ends in "/" or "/.", or is a directory, receives
  // the source under its own name. Missing directories are made.
  absl::Status Copy(absl::string_view source, absl::string_view destination);

 private:
  struct Item;    // one entry of the source on its way
  struct Parent;  // a directory that the walk is in
  struct Link {
    std::string first, target;
  };
  // A directory that the walk has left, whose attributes or at least times wait for the files in it.
  struct Left {
    std::string source, target;
    struct stat st;
    bool attributes;
  };
  absl::StatusOr<std::string> PrepareTarget(const std::string& source, absl::string_view name, const std::string& destination);
  absl::Status CopyEntry(const Item& item);
  absl::Status CopyDirectory(const Item& item, const struct stat& st, bool include, bool excluded, const PatternMatcher::ParentMatches& includes,
                             const PatternMatcher::ParentMatches& excludes);
  absl::StatusOr<bool> EnsureDirectory(const Item& item, const struct stat& st);
  absl::Status CreateParents();
  absl::Status CopyFile(const Item& item, const struct stat& st, const TreeWriter::Place& place);
  absl::Status CopySpecial(const Item& item, const struct stat& st, const TreeWriter::Place& place);
  absl::Status Finish();
  absl::Status MakeLink(const Link& link);
  Attributes AttributesFor(const struct stat& st) const;
  absl::Status FinishDirectory(const std::string& source, const std::string& target, const struct stat& st);
  absl::Status SetTimes(const std::string& path, const struct stat& st);

  SourceTree& source_;
  TreeWriter& target_;
  const CopyRules rules_;
  const CancelToken cancel_;
  std::vector<Parent*> parents_;
  std::map<std::pair<int, ino_t>, std::string> linked_;  // layer and inode of files with several names: where the first went
  FileBatch files_;
  std::vector<Link> links_;  // once the files are there
  std::vector<Left> left_;
};

// mkdir -p within the tree, with everything that is made owned by `owner` and of time `time`.
absl::Status MakeDirectories(TreeWriter& tree, const std::string& path, mode_t mode, const std::optional<Owner>& owner,
                             const std::optional<struct timespec>& time, std::vector<std::string>* created = nullptr);

}  // namespace cachalot::op
