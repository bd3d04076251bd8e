// The digests of a file tree, computed as BuildKit computes them so that content keys of both daemons agree.
//
// A file's digest is sha256 over its header in the old "tarsum v1" form (field names and values of a tar header without name
// and mtime) followed by its data; a directory's own one is over its header alone. The digest of a whole directory is sha256
// over "\0" and its own digest, then "\0<name>" and digest for each entry in byte order, digests written as "sha256:<hex>".
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "base/worker_pool.h"

namespace cachalot::snapshot {

// What tells that a file is still the same without reading it. In a client's directory, whose files are replaced but never changed, the
// time of the inode's birth: there the ctime only tells that a COPY has linked the file.
struct FileIdentity {
  std::uint64_t inode = 0;
  std::int64_t size = 0, mtime_ns = 0;
  std::int64_t changed_ns = -1;  // ctime or birth; -1: unknown

  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

struct ChecksumNode {
  std::string name;
  struct Header {
    std::uint32_t mode = 0, uid = 0, gid = 0;
    std::uint64_t device = 0;
    friend bool operator==(const Header&, const Header&) = default;
  } header;
  std::string link;         // a symlink's target
  std::string digest;       // 32 bytes, or empty: not computed
  std::string tree_digest;  // of a directory with all beneath; empty: not computed
  FileIdentity identity;
  std::uint32_t listed = 0;                             // the pass in which the children were read; 0: never
  std::vector<std::unique_ptr<ChecksumNode>> children;  // sorted by name

  bool IsDirectory() const { return S_ISDIR(header.mode); }
  bool IsLink() const { return S_ISLNK(header.mode); }
  ChecksumNode* Child(absl::string_view child_name) const;  // or null
};

// Not thread-safe; hashes on several threads by itself.
class ChecksumTree {
 public:
  // A tree that nothing changes any more is read once; another is listed anew in each pass, a client's directory where it changed.
  explicit ChecksumTree(bool immutable) : immutable_(immutable) {}

  // What the files are: layers, or a client's directory, whose root has no header that travels.
  enum class Origin { kLayers, kClientDirectory };
  // Begins a pass over the files at the directory that `root` gives when it is needed.
  void Begin(std::function<absl::StatusOr<std::string>()> root, Origin origin, WorkerPool* pool);
  // Lets go of the files.
  void End();
  // What changed in a client's directory since the last pass: entries of these directories ("", "a/b"), or null for anything.
  void NoteChanges(const std::vector<std::string>* directories);

  // The node that `path` ("/a/b") names, links on the way followed inside the tree, the last one if `follow`; null when there is
  // none. `resolved`, when not null, receives its path without links ("" for the root).
  absl::StatusOr<ChecksumNode*> Resolve(absl::string_view path, bool follow, std::string* resolved);
  // Reads all directories beneath `node`, whose path is `path`.
  absl::Status List(ChecksumNode* node, const std::string& path);
  // Computes the own digests of the nodes that lack one; each with its path.
  absl::Status Hash(const std::vector<std::pair<ChecksumNode*, std::string>>& nodes);
  // The digest of the node with all beneath it, "sha256:<hex>".
  absl::StatusOr<std::string> DigestOf(ChecksumNode* node, const std::string& path);

  // Digests that were computed, since the tree is there.
  std::size_t hashed() const { return hashed_; }
  std::size_t nodes() const { return nodes_; }

  // The tree as one value and back. A value of another version yields an empty tree.
  std::string Serialize() const;
  static std::unique_ptr<ChecksumTree> Parse(absl::string_view bytes, bool immutable);

 private:
  absl::Status OpenRoot();
  void BeginPass();
  // Drops what is known of the entries of `directory`.
  void Unlist(absl::string_view directory);
  absl::Status ListOne(ChecksumNode* node, const std::string& path);
  struct Seen {  // what statx says of a file
    ChecksumNode::Header header;
    FileIdentity identity;
  };
  absl::StatusOr<Seen> Look(int directory, const std::string& name) const;
  void Refresh(ChecksumNode* node, const Seen& seen);
  void CollectBeneath(ChecksumNode* node, const std::string& path, std::vector<std::pair<ChecksumNode*, std::string>>* nodes);
  const std::string& Combine(ChecksumNode* node);
  absl::Status HashOne(ChecksumNode* node, const std::string& path) const;

  const bool immutable_;
  std::function<absl::StatusOr<std::string>()> root_path_;
  UniqueFd root_fd_;
  Origin origin_ = Origin::kLayers;
  WorkerPool* pool_ = nullptr;
  std::uint32_t pass_ = 0;
  ChecksumNode root_;
  std::size_t hashed_ = 0, nodes_ = 1;
};

// "sha256:<hex>" of a node's 32 bytes.
std::string DigestText(absl::string_view bytes);

}  // namespace cachalot::snapshot
