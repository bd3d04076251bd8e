// Snapshots as overlayfs layers, or as copies, on a local file system.
//
//   <root>/snapshots/<number>/fs         one layer: a plain directory that overlayfs stacks, or (native) the whole tree
//   <root>/snapshots/<number>/deleted    paths that the layer deletes although nothing below it has them, each with a NUL
//   <root>/snapshots/<number>/work<n>    overlayfs's own, one per writable mount, as long as that lasts
//   <root>/snapshots/trash/...           what is being deleted
//   <root>/snapshots/empty               the empty tree
//   <root>/mounts/<number>               mount points
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/guarded.h"
#include "codec/stream.h"
#include "snapshot/checksum_cache.h"
#include "snapshot/flights.h"
#include "snapshot/layer_walk.h"
#include "snapshot/record.h"
#include "snapshot/snapshots.h"

namespace cachalot::snapshot {

class LinkChangeSink;
class UsageFilter;

class LocalSnapshots final : public Snapshots {
 public:
  explicit LocalSnapshots(const Options& options);
  absl::Status Start();
  ~LocalSnapshots() override;

  absl::StatusOr<SnapshotPtr> Prepare(const SnapshotPtr& parent, const Label& label) override;
  absl::StatusOr<SnapshotPtr> Commit(const SnapshotPtr& active) override;
  SnapshotPtr CommitUnrecorded(const SnapshotPtr& active) override;
  absl::StatusOr<SnapshotPtr> FromLayer(const SnapshotPtr& parent, const Layer& layer, const Label& label) override;
  absl::StatusOr<SnapshotPtr> Merge(const std::vector<SnapshotPtr>& uppers, const Label& label) override;
  absl::StatusOr<SnapshotPtr> Diff(const SnapshotPtr& lower, const SnapshotPtr& upper, const Label& label, BlobFetcher& fetcher,
                                   const CancelToken& cancel) override;
  absl::StatusOr<SnapshotPtr> Get(const SnapshotId& id) override;
  absl::Status Materialize(const SnapshotPtr& snapshot, BlobFetcher& fetcher, const CancelToken& cancel) override;
  absl::StatusOr<std::vector<std::string>> LayerDirectories(const SnapshotPtr& snapshot) override;
  absl::StatusOr<std::shared_ptr<MountedTree>> MountTree(const SnapshotPtr& snapshot, bool readonly) override;
  absl::StatusOr<std::vector<Layer>> Layers(const SnapshotPtr& snapshot, const Compression& compression, bool keep_remote, BlobFetcher& fetcher,
                                            const CancelToken& cancel) override;
  std::vector<Layer> KnownLayers(const SnapshotPtr& snapshot) override;
  absl::StatusOr<std::optional<std::vector<Layer>>> LayersAtHand(const SnapshotPtr& snapshot, const Compression& compression) override;
  absl::StatusOr<oci::Digest> Checksum(const SnapshotPtr& snapshot, const ChecksumOptions& options) override;
  absl::Status BeginChanges(const SnapshotPtr& active) override { return checksums_.BeginChanges(active->id()); }
  absl::Status EndChanges(const SnapshotPtr& active, const std::vector<std::string>* directories) override {
    return checksums_.EndChanges(active->id(), directories);
  }
  absl::StatusOr<SnapshotPtr> FindNamed(const std::string& key) override;
  absl::Status SetName(const SnapshotPtr& snapshot, const std::string& key) override;
  absl::Status ForgetNames(const std::string& key) override;
  absl::Status Keep(const SnapshotPtr& active) override;
  absl::StatusOr<std::vector<UsageRecord>> DiskUsage(const std::vector<std::string>& filters) override;
  absl::Status Prune(const PrunePolicy& policy, const std::function<void(const UsageRecord&)>& on_deleted) override;
  absl::Status ReleaseMemory() override;

 private:
  static constexpr std::chrono::seconds kBlobGrace{60};  // between the making of a blob and its use, or a question for it and its use

  class Reference;
  class Mounted;
  struct Candidate {
    RecordPtr record;
    UsageRecord usage;
  };

  // local_snapshots.cc: records and references.
  static RecordPtr RecordOf(const SnapshotPtr& snapshot);
  SnapshotPtr Refer(const RecordPtr& record);  // with the table locked; the result must not be dropped before it is unlocked
  void Released(const RecordPtr& record);
  static std::vector<RecordPtr> ChainOfRecords(const RecordPtr& top);  // lowest first
  std::string DirectoryPath(const absl::AlphaNum& name) const;
  std::string LayerPath(const Record& record) const;
  std::string DeletionsPath(const Record& record) const;
  // Whether each layer's directory holds the whole tree.
  bool whole_trees() const { return options_.kind == Kind::kNative; }
  absl::StatusOr<std::string> MakeLayerDirectory(const Record& record);
  absl::Status Begin(const Record& record);  // makes the directory of a new one
  absl::StatusOr<RecordPtr> NewRecord(const RecordPtr& parent, const Label& label);
  absl::Status Persist(const RecordPtr& record);  // which somebody refers to
  absl::Status AboutToChange(const RecordPtr& active);

  // records.cc: records come into memory when somebody wants them, and go some time after.
  absl::StatusOr<SnapshotPtr> Find(const SnapshotId& id);  // null when there is none, or its files are gone
  absl::StatusOr<SnapshotPtr> FindRecord(const SnapshotId& id);
  // The lowest of a chain whose files are gone, null if they all are there.
  RecordPtr FindLost(const RecordPtr& top);
  bool IsLost(const RecordPtr& record);
  // Forgets a record and all that stand on it, but for what is in use.
  absl::Status DropLost(const RecordPtr& lost);
  absl::StatusOr<SnapshotPtr> FindByChain(const std::string& chain);
  // Runs `use` with every record in memory.
  absl::Status WithAllRecords(const std::function<absl::Status()>& use);
  absl::Status Write(const std::function<absl::Status(store::Connection&)>& work) { return options_.database->Write(work); }
  absl::Status WriteSetAside(const std::function<absl::Status(store::Connection&)>& work) { return options_.database->WriteSetAside(work); }

  // trees.cc: mounts.
  std::vector<std::string> LowerPaths(const RecordPtr& top);  // topmost first
  absl::Status CheckMaterialized(const RecordPtr& top);
  struct Description {
    os::Mount mount;
    std::string work;  // overlayfs's directory, made for this mount; empty without one
  };
  absl::StatusOr<Description> Describe(const RecordPtr& record, bool readonly);
  absl::StatusOr<std::shared_ptr<Mounted>> MountDescribed(const Description& description, SnapshotPtr hold);

  // materialize.cc
  absl::Status EnsureBlob(const Layer& layer, BlobFetcher& fetcher, const CancelToken& cancel);
  absl::Status ApplyRecord(const RecordPtr& record, const Layer& layer, BlobFetcher& fetcher, const CancelToken& cancel);
  // After all that had the blob said that they have it no more.
  absl::Status ForgetBlob(const RecordPtr& record, const oci::Digest& blob);
  absl::StatusOr<std::unique_ptr<codec::Source>> OpenPlain(const oci::Digest& blob);  // decompressed
  absl::Status UnpackBlob(const Record& record, const Layer& layer, const CancelToken& cancel);

  // layers.cc
  bool IsInReach(const LayerBlob& blob);  // here, or it is known where
  // What is known of the record's layer, without blobs that are out of reach: those of a snapshot whose files are here can be made again,
  // those of a lazy one only the build can have that brought it.
  KnownLayer UsableLayer(const RecordPtr& record);
  // By whichever blob; without a digest if there is none.
  Layer AnyLayer(const RecordPtr& record);
  // The record's blob that fits best, if one does.
  std::optional<Layer> ChooseLayer(const RecordPtr& record, const Compression& compression);
  absl::StatusOr<Layer> LayerFor(const RecordPtr& record, const Compression& compression, bool keep_remote, BlobFetcher& fetcher,
                                 const CancelToken& cancel);
  absl::StatusOr<Layer> MakeLayer(const RecordPtr& record, const Compression& compression, const std::string& form, const CancelToken& cancel);
  absl::StatusOr<Layer> ConvertLayer(const RecordPtr& record, const Layer& from, const Compression& compression, const std::string& form,
                                     const CancelToken& cancel);
  absl::Status RememberLayer(const RecordPtr& record, const std::string& form, const LayerBlob& blob, const oci::Digest& diff_id);

  // merge.cc
  absl::StatusOr<LayerWalk> WalkOf(const RecordPtr& record, std::shared_ptr<MountedTree>* base);
  absl::StatusOr<SnapshotPtr> Rebase(const SnapshotPtr& parent, const SnapshotPtr& layer, const Label& label);
  absl::StatusOr<SnapshotPtr> FromChanges(const SnapshotPtr& parent, const Label& label, const std::function<absl::Status(LinkChangeSink&)>& fill,
                                          std::vector<std::string> sources = {});

  // usage.cc
  absl::Status MeasureAll();
  absl::StatusOr<std::int64_t> MeasuredTotal();     // bytes
  UsageRecord UsageOf(const Record& record) const;  // with the table locked
  std::vector<Candidate> Candidates(const PrunePolicy& policy, const UsageFilter& filter);
  static void SortForCollection(std::vector<Candidate>& candidates);
  // Deletes as the policy wants until less than `keep` bytes of `total` are left, or (0) all that it selects; `dropped` gets the blobs
  // that nothing names any more.
  absl::Status Shrink(const PrunePolicy& policy, const UsageFilter& filter, std::int64_t total, std::int64_t keep,
                      const std::function<void(const UsageRecord&)>& on_deleted, std::vector<oci::Digest>* dropped);
  absl::StatusOr<std::vector<UsageRecord>> Delete(const std::vector<Candidate>& candidates, std::vector<oci::Digest>* dropped);

  // janitor.cc: what happens on the side.
  absl::Status SweepLeftovers();
  // Moves it to the trash, which is emptied later, or at once when space is short. If it had a row, that is gone, and the database was synced since.
  void Discard(const absl::AlphaNum& directory);
  // The same, later, for directories whose rows have just gone. What is left at the stop is a leftover.
  void Condemn(const std::vector<std::int64_t>& directories);
  void DiscardCondemned();
  bool ShortOfSpace() const;
  void JanitorLoop();
  void EmptyTrash(bool whole);  // or until the process stops
  absl::Status SaveUse();       // and lets go of records that are not used

  const Options options_;
  const std::string root_;
  Guarded<RecordTable> table_;
  Flights flights_;
  ChecksumCache checksums_;
  std::atomic<std::int64_t> last_number_ = 0;  // of mount points, work directories and trash
  bool overlay_volatile_ = false;

  WorkerPool unmounts_{"unmount", 1};  // taking a mount down waits for the whole kernel; builds need not

  struct Janitor {
    bool stopping = false;
    bool trash = false;
    std::vector<std::int64_t> condemned;  // directories to be discarded once the database is synced
  };
  std::mutex condemned_mutex_;  // of who discards what is condemned; taken before the next
  std::mutex trash_mutex_;      // of who empties the trash
  Guarded<Janitor> janitor_state_;
  std::thread janitor_;
};

}  // namespace cachalot::snapshot
