// Snapshots: the file trees of builds, as overlayfs layers with one metadata record each.
//
// A record is active (being written), committed (immutable), or lazy (committed, but only its layer blob is known, perhaps
// only where to fetch it; Materialize() makes the files). A record's parent chain is the tree; its own part is one layer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/worker_pool.h"
#include "oci/image.h"
#include "os/mount.h"
#include "snapshot/kind.h"
#include "store/blobs.h"
#include "store/database.h"
#include "store/local_blobs.h"

namespace cachalot::snapshot {

using SnapshotId = std::string;

// Before the name of a source: http and bad certificates will do.
inline constexpr absl::string_view kInsecureSource = "insecure:";

// One layer of a tree as it travels: a descriptor of the (compressed) blob, and the digest of its uncompressed tar.
struct Layer {
  oci::Descriptor blob;
  oci::Digest diff_id;
  // Where the blob can be had when it is not in the blob store: "registry/repository" names, best first, perhaps
  // after kInsecureSource.
  std::vector<std::string> sources;
  // What made the layer and when, for the history of images; filled in by Snapshots::Layers.
  std::string description{};
  std::optional<absl::Time> created_at{};
};

// Shown by `du`. The kinds are BuildKit's: "regular", "source.local", "source.git.checkout", "exec.cachemount",
// "frontend", "internal".
struct Label {
  std::string description;
  std::string record_type = "regular";
};

// A counted reference to a snapshot. While one exists the record is in use: neither pruned nor collected. An active snapshot
// whose last reference goes is removed. Holding a reference to the empty tree (scratch) is a null pointer.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  virtual const SnapshotId& id() const = 0;
  virtual std::shared_ptr<const Snapshot> parent() const = 0;  // null at the bottom
};
using SnapshotPtr = std::shared_ptr<const Snapshot>;

// Fetches a blob that a lazy snapshot needs, into the blob store. Called at most once at a time per blob, however many
// builds ask; the asking build's session pays with its credentials.
class BlobFetcher {
 public:
  virtual ~BlobFetcher() = default;
  virtual absl::Status Fetch(const Layer& layer, store::BlobStore& blobs, const CancelToken& cancel) = 0;
  // Progress of unpacking (0..1 events per blob), for display only.
  virtual void OnExtract(const Layer& layer, bool done) = 0;
};

// A mounted or mountable view. Unmounted on destruction.
class MountedTree {
 public:
  virtual ~MountedTree() = default;
  virtual const std::string& path() const = 0;  // an absolute directory with the tree's content
};

struct UsageRecord {
  SnapshotId id;
  std::vector<SnapshotId> parents;
  bool mutable_ = false, in_use = false, shared = false;
  std::int64_t size = 0;  // bytes of this record alone
  absl::Time created_at;
  std::optional<absl::Time> last_used_at;
  int usage_count = 0;
  Label label;
};

struct PrunePolicy {  // the fields of a BuildKit GC policy; sizes in bytes, 0 is "no bound"
  bool all = false;
  absl::Duration keep_duration = absl::ZeroDuration();
  std::int64_t reserved_space = 0, max_used_space = 0, min_free_space = 0;
  std::vector<std::string> filters = {};  // containerd filter syntax over id, parent, type, description, inuse, mutable, ...
};

// The compression of a layer that is wanted: "" (uncompressed), "gzip", "zstd"; `force` re-compresses blobs of other kinds.
struct Compression {
  std::string type = "gzip";
  int level = -1;  // -1: the type's default
  bool force = false;
  bool oci_media_types = true;
  bool keep_foreign = false;  // layers that registries may not distribute stay marked so
};

// Thread-safe. Outlives every reference and mount that it hands out.
class Snapshots {
 public:
  virtual ~Snapshots() = default;

  // A new active snapshot over `parent` (null: scratch).
  virtual absl::StatusOr<SnapshotPtr> Prepare(const SnapshotPtr& parent, const Label& label) = 0;
  // Turns an active snapshot into a committed one (same id). Nothing may have it mounted read-write any more.
  virtual absl::StatusOr<SnapshotPtr> Commit(const SnapshotPtr& active) = 0;
  // The same for a tree that only those look into who have it now, such as that of a failed step: it has no record in the database and goes
  // with its last reference.
  virtual SnapshotPtr CommitUnrecorded(const SnapshotPtr& active) = 0;
  // A lazy snapshot over `parent` for a layer that is known by its blob; an existing record of the same chain is returned.
  // The layer's time of making, if it has one, becomes the record's.
  virtual absl::StatusOr<SnapshotPtr> FromLayer(const SnapshotPtr& parent, const Layer& layer, const Label& label) = 0;
  // A snapshot whose tree is `uppers` applied over each other, lowest first (LLB merge).
  virtual absl::StatusOr<SnapshotPtr> Merge(const std::vector<SnapshotPtr>& uppers, const Label& label) = 0;
  // A snapshot with what `upper` changes relative to `lower` (LLB diff).
  virtual absl::StatusOr<SnapshotPtr> Diff(const SnapshotPtr& lower, const SnapshotPtr& upper, const Label& label, BlobFetcher& fetcher,
                                           const CancelToken& cancel) = 0;
  // The record by id, or null when it is gone. Touches last-used.
  virtual absl::StatusOr<SnapshotPtr> Get(const SnapshotId& id) = 0;

  // Makes sure that the files of the whole chain are there: fetches and applies lazy layers. No-op for others and for null.
  virtual absl::Status Materialize(const SnapshotPtr& snapshot, BlobFetcher& fetcher, const CancelToken& cancel) = 0;
  // The directories that the layers of a materialized snapshot lie in, topmost first: an active snapshot's own, which may be changed,
  // comes first. Null has an empty one.
  virtual absl::StatusOr<std::vector<std::string>> LayerDirectories(const SnapshotPtr& snapshot) = 0;
  // Mounts it somewhere below the root; several read-only users of one committed snapshot share one mount. Null mounts an
  // empty directory. A tree that is one plain directory is not mounted at all: read-only is a promise of the caller's then.
  virtual absl::StatusOr<std::shared_ptr<MountedTree>> MountTree(const SnapshotPtr& snapshot, bool readonly) = 0;

  // The tree's layers, lowest first, each with a blob in the blob store (lazy ones may stay remote when `keep_remote` and
  // the compression fits). Missing blobs are made by diffing and compressing, once, and remembered.
  virtual absl::StatusOr<std::vector<Layer>> Layers(const SnapshotPtr& snapshot, const Compression& compression, bool keep_remote,
                                                    BlobFetcher& fetcher, const CancelToken& cancel) = 0;
  // The tree's layers if all of them are known by some blob already, of whatever compression and wherever it is; else none.
  virtual std::vector<Layer> KnownLayers(const SnapshotPtr& snapshot) = 0;
  // The same layers when each has a fitting blob already, here or elsewhere; nothing is made, converted or fetched.
  virtual absl::StatusOr<std::optional<std::vector<Layer>>> LayersAtHand(const SnapshotPtr& snapshot, const Compression& compression) = 0;

  // The digest of the content at `path` in a materialized snapshot: names, types, modes, owners, xattrs and data of all it
  // covers; times do not count. The values are BuildKit's. Remembered for committed snapshots; for active ones file by file,
  // while inode, size and times stay (nothing may write meanwhile; see BeginChanges). NOT_FOUND `"/path": not found`.
  struct ChecksumOptions {
    std::string path = "/";
    bool wildcard = false;  // `path` may hold *, ? and []
    bool follow_links = false;
    std::vector<std::string> include_patterns, exclude_patterns;
  };
  virtual absl::StatusOr<oci::Digest> Checksum(const SnapshotPtr& snapshot, const ChecksumOptions& options) = 0;

  // Whoever changes an active snapshot of type "source.local" says so before and after, for Checksum() takes all else for what it was,
  // also in later processes. `directories`: those ("", "a/b") of which an entry is not as it was before, or null when that is not known.
  // Changes without an end, those of a killed process too, may have touched anything.
  virtual absl::Status BeginChanges(const SnapshotPtr& active) = 0;
  virtual absl::Status EndChanges(const SnapshotPtr& active, const std::vector<std::string>* directories) = 0;

  // Mutable snapshots with a name (cache mounts, local sources): key to the snapshot last kept under it.
  virtual absl::StatusOr<SnapshotPtr> FindNamed(const std::string& key) = 0;  // null when there is none
  virtual absl::Status SetName(const SnapshotPtr& snapshot, const std::string& key) = 0;
  // Takes away the name `key` and those that go on after it with ':' or '#'. Their snapshots are kept no longer: they go with
  // their last reference.
  virtual absl::Status ForgetNames(const std::string& key) = 0;
  // Marks an active snapshot to be kept (in `du`, prunable) when its last reference goes.
  virtual absl::Status Keep(const SnapshotPtr& active) = 0;

  virtual absl::StatusOr<std::vector<UsageRecord>> DiskUsage(const std::vector<std::string>& filters) = 0;
  // Deletes what the policy allows, least recently used first; `on_deleted` is told of each record. Blobs that nothing
  // names any more go too.
  virtual absl::Status Prune(const PrunePolicy& policy, const std::function<void(const UsageRecord&)>& on_deleted) = 0;
  // Gives up what is known of snapshots that nobody uses: the database has it.
  virtual absl::Status ReleaseMemory() = 0;
};

struct Options {
  std::string root;  // everything lies in <root>/snapshots and <root>/mounts
  store::LocalBlobs* blobs;
  store::Database* database;  // of store::OpenMetadata(root)
  WorkerPool* cpu;            // hashing and compression
  Clock* clock = &Clock::System();
  Kind kind = Kind::kOverlay;  // as ChooseKind() says
};

// All of Options outlives the snapshots. What an earlier process left behind (active snapshots, mounts) is removed. Results in
// store::CacheIndex go with the snapshots that they name.
absl::StatusOr<std::unique_ptr<Snapshots>> OpenSnapshots(const Options& options);

}  // namespace cachalot::snapshot
