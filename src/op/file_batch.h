// Regular files on their way from one tree to another: many at once, by several threads.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/cancel.h"
#include "base/unique_fd.h"
#include "op/attributes.h"
#include "op/source_tree.h"
#include "op/tree_writer.h"

namespace cachalot::op {

// Every file becomes one of its own: what a step sees of a copy (link counts, inodes) does not depend on how it is stored.
// Not thread-safe.
class FileBatch {
 public:
  explicit FileBatch(CancelToken cancel) : cancel_(std::move(cancel)) {}

  // Queues the file at `from` (path `source` of its tree) for the free place `to` (path `target`). Places are needed during the
  // call only.
  absl::Status Add(const std::string& source, const SourceTree::Place& from, const std::string& target, const TreeWriter::Place& to,
                   const Attributes& attributes);
  // Whether Run() is due: what is queued holds descriptors.
  bool full() const;
  // Copies what is queued: content, attributes and extended attributes. After an error some files may be there in part.
  absl::Status Run();

 private:
  struct File {
    std::string from, to;  // names in the directories
    Attributes attributes;
  };
  // Files with both directories in common.
  struct Piece {
    int layer;
    std::string source, target;  // the directories' paths
    UniqueFd from, to;
    std::vector<File> files;
  };
  static absl::Status CopyFile(const Piece& piece, const File& file);

  const CancelToken cancel_;
  std::vector<Piece> pieces_;
};

}  // namespace cachalot::op
