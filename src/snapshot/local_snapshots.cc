#include "snapshot/local_snapshots.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "os/file.h"
#include "os/spread_directories.h"
#include "snapshot/whole_trees.h"

namespace cachalot::snapshot {

namespace {

// The "volatile" mount option, with which overlayfs ignores fsync: Linux 5.10.
bool KernelHasVolatile() {
  utsname name;
  if (::uname(&name) != 0) return false;
  const std::vector<std::string> parts = absl::StrSplit(name.release, absl::ByAnyChar(".-"));
  int major = 0, minor = 0;
  return parts.size() >= 2 && absl::SimpleAtoi(parts[0], &major) && absl::SimpleAtoi(parts[1], &minor) && (major > 5 || (major == 5 && minor >= 10));
}

bool HasBlob(const Record& record, const oci::Digest& blob) {
  return std::any_of(record.layer().blobs.begin(), record.layer().blobs.end(),
                     [&](const auto& known) { return known.second.descriptor.digest == blob; });
}

}  // namespace

class LocalSnapshots::Reference final : public Snapshot {
 public:
  Reference(LocalSnapshots* owner, RecordPtr record, SnapshotPtr parent) : owner_(owner), record_(std::move(record)), parent_(std::move(parent)) {}
  ~Reference() override { owner_->Released(record_); }
  const SnapshotId& id() const override { return record_->id; }
  SnapshotPtr parent() const override { return parent_; }
  const RecordPtr& record() const { return record_; }

 private:
  LocalSnapshots* const owner_;
  const RecordPtr record_;
  const SnapshotPtr parent_;
};

LocalSnapshots::LocalSnapshots(const Options& options)
    : options_(options), root_(options.root), checksums_(options.database), overlay_volatile_(KernelHasVolatile()) {}

absl::Status LocalSnapshots::Start() {
  RETURN_IF_ERROR(os::MakeDirectories(absl::StrCat(root_, "/snapshots/trash"), 0700));
  RETURN_IF_ERROR(os::MakeDirectories(absl::StrCat(root_, "/snapshots/empty"), 0755));
  // In the group of trees that were deleted just now, ext4 looks at each of their inodes again and again to find one for a file.
  os::SpreadDirectories(absl::StrCat(root_, "/snapshots"));
  RETURN_IF_ERROR(os::MakeDirectories(absl::StrCat(root_, "/mounts"), 0700));
  RETURN_IF_ERROR(options_.database->Read([this](store::Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(*table_.Lock(), LoadTable(connection));
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(SweepLeftovers());
  janitor_ = NewThread([this] { JanitorLoop(); });
  return absl::OkStatus();
}

LocalSnapshots::~LocalSnapshots() {
  janitor_state_.Lock()->stopping = true;
  janitor_state_.NotifyAll();
  if (janitor_.joinable()) janitor_.join();
  if (ShortOfSpace()) EmptyTrash(/*whole=*/true);
  if (const absl::Status status = SaveUse(); !status.ok()) LogError("stop of the snapshots: ", status.message());
}

RecordPtr LocalSnapshots::RecordOf(const SnapshotPtr& snapshot) {
  return snapshot == nullptr ? nullptr : static_cast<const Reference&>(*snapshot).record();
}

SnapshotPtr LocalSnapshots::Refer(const RecordPtr& record) {
  if (SnapshotPtr live = record->reference.lock()) return live;
  SnapshotPtr parent = record->parent == nullptr ? nullptr : Refer(record->parent);
  SnapshotPtr reference = std::make_shared<Reference>(this, record, std::move(parent));
  record->reference = reference;
  return reference;
}

void LocalSnapshots::Released(const RecordPtr& record) {
  {
    auto table = table_.Lock();
    // Somebody may have taken a new reference before this one's end got the lock.
    if (!record->reference.expired() || record->removed) return;
    // An expired pointer keeps the memory of what it pointed to.
    record->reference.reset();
    record->tree.reset();
    record->used_at = options_.clock->Now();
    record->used_changed = true;
    // What never got its row is nobody else's: it goes as if it had not been finished.
    if ((record->state != State::kActive && (record->persisted || record->children > 0)) || record->kept) return;
    table->Remove(record);
  }
  Discard(record->directory);
}

std::vector<RecordPtr> LocalSnapshots::ChainOfRecords(const RecordPtr& top) {
  std::vector<RecordPtr> chain;
  for (RecordPtr record = top; record != nullptr; record = record->parent) chain.push_back(record);
  std::reverse(chain.begin(), chain.end());
  return chain;
}

std::string LocalSnapshots::DirectoryPath(const absl::AlphaNum& name) const { return absl::StrCat(root_, "/snapshots/", name); }
std::string LocalSnapshots::LayerPath(const Record& record) const { return absl::StrCat(DirectoryPath(record.directory), "/fs"); }
std::string LocalSnapshots::DeletionsPath(const Record& record) const { return absl::StrCat(DirectoryPath(record.directory), "/deleted"); }

absl::StatusOr<std::string> LocalSnapshots::MakeLayerDirectory(const Record& record) {
  const std::string path = DirectoryPath(record.directory);
  if (::mkdir(path.c_str(), 0700) != 0) return ErrnoError(absl::StrCat("mkdir ", path));
  const std::string layer = absl::StrCat(path, "/fs");
  if (::mkdir(layer.c_str(), 0755) != 0 || ::chmod(layer.c_str(), 0755) != 0) return ErrnoError(absl::StrCat("mkdir ", layer));
  // The topmost layer's root stands for the whole tree's. Its mode is fresh in each: what one step does to
  // it locks no later step's user out, and layers do not carry it.
  struct stat status;
  if (record.parent == nullptr || ::stat(LayerPath(*record.parent).c_str(), &status) != 0) return layer;
  const timespec times[2] = {{0, UTIME_OMIT}, status.st_mtim};
  if (::chown(layer.c_str(), status.st_uid, status.st_gid) != 0 || ::utimensat(AT_FDCWD, layer.c_str(), times, 0) != 0) {
    return ErrnoError(absl::StrCat("set owner and time of ", layer));
  }
  return layer;
}

absl::Status LocalSnapshots::Begin(const Record& record) {
  const bool copied = record.parent != nullptr && whole_trees();
  if (copied) RETURN_IF_ERROR(CheckMaterialized(record.parent));
  ASSIGN_OR_RETURN(const std::string directory, MakeLayerDirectory(record));
  return copied ? CopyWholeTree(LayerPath(*record.parent), directory, {}) : absl::OkStatus();
}

absl::StatusOr<RecordPtr> LocalSnapshots::NewRecord(const RecordPtr& parent, const Label& label) {
  auto record = std::make_shared<Record>();
  record->id = RandomId();
  record->parent = parent;
  record->label = label;
  record->seen = true;
  record->created_at = Storable(options_.clock->Now());
  record->directory = table_.Lock()->NewDirectory();
  const absl::Status made = Begin(*record);
  if (made.ok()) return record;
  Discard(record->directory);
  return made;
}

absl::StatusOr<SnapshotPtr> LocalSnapshots::Prepare(const SnapshotPtr& parent, const Label& label) {
  ASSIGN_OR_RETURN(const RecordPtr record, NewRecord(RecordOf(parent), label));
  auto table = table_.Lock();
  record->used_at = record->created_at;
  record->usage_count = 1;
  table->Add(record);
  return Refer(record);
}

absl::Status LocalSnapshots::Persist(const RecordPtr& record) {
  Record copy;
  {
    auto table = table_.Lock();
    copy = *record;
    // A row without its parent's is a loss of data to who reads it.
    if (copy.parent != nullptr && !copy.parent->persisted) {
      return absl::FailedPreconditionError(absl::StrCat("snapshot ", copy.id, " stands on what a failed step left, which is not kept"));
    }
  }
  RETURN_IF_ERROR(Write([&](store::Connection& connection) { return SaveRecord(connection, copy); }));
  auto table = table_.Lock();
  record->persisted = true;
  return absl::OkStatus();
}

absl::StatusOr<SnapshotPtr> LocalSnapshots::Commit(const SnapshotPtr& active) {
  const RecordPtr record = RecordOf(active);
  bool kept = false;
  {
    auto table = table_.Lock();
    if (record->state != State::kActive) return active;
    record->state = State::kCommitted;
    kept = std::exchange(record->kept, false);
    record->size = -1;
  }
  if (const absl::Status status = Persist(record); !status.ok()) {
    auto table = table_.Lock();
    record->state = State::kActive;
    record->kept = kept;
    return status;
  }
  return active;
}

SnapshotPtr LocalSnapshots::CommitUnrecorded(const SnapshotPtr& active) {
  const RecordPtr record = RecordOf(active);
  auto table = table_.Lock();
  if (record->state != State::kActive) return active;
  record->state = State::kCommitted;
  record->kept = false;
  record->size = -1;
  return active;
}

absl::StatusOr<SnapshotPtr> LocalSnapshots::FromLayer(const SnapshotPtr& parent, const Layer& layer, const Label& label) {
  if (layer.diff_id.empty()) return absl::InvalidArgumentError(absl::StrCat("layer ", layer.blob.digest.str(), " has no diff id"));
  ASSIGN_OR_RETURN(const std::string form, oci::LayerCompression(layer.blob.media_type));
  const RecordPtr below = RecordOf(parent);
  RecordPtr record;
  SnapshotPtr reference;
  Record copy;
  LayerBlob blob;
  bool news = false;
  std::string base;
  {
    auto table = table_.Lock();
    if (below != nullptr) base = below->layer().chain.empty() ? below->id : below->layer().chain;
  }
  std::string chain = ChainOf(base, layer.diff_id);
  // Images keep the blobs that they came with, even if others hold the same files. And what an image says of the files in its blobs may be a
  // lie: it must not become another image's.
  const std::string own_chain = ChainOf(chain, layer.blob.digest);
  ASSIGN_OR_RETURN(const SnapshotPtr same_files, FindByChain(chain));
  ASSIGN_OR_RETURN(const SnapshotPtr same_blob, FindByChain(own_chain));
  {
    auto table = table_.Lock();
    record = table->OfChain(chain);
    if (record != nullptr && !HasBlob(*record, layer.blob.digest)) {
      chain = own_chain;
      record = table->OfChain(chain);
    }
    if (record == nullptr) {
      record = std::make_shared<Record>();
      record->id = RandomId();
      record->parent = below;
      record->label = label;
      record->seen = true;
      record->used_at = options_.clock->Now();
      record->created_at = Storable(layer.created_at.value_or(record->used_at));
      record->usage_count = 1;
      record->directory = table->NewDirectory();
      record->state = State::kLazy;
      record->SetLayer({std::move(chain), layer.diff_id, {}});
      table->Add(record);
    }
    KnownLayer changed = record->layer();
    LayerBlob& known = changed.blobs[form];
    news = known.descriptor.digest.empty() || !record->persisted;
    if (known.descriptor.digest.empty()) known.descriptor = layer.blob;
    for (const std::string& source : layer.sources) {
      if (std::find(known.sources.begin(), known.sources.end(), source) != known.sources.end()) continue;
      known.sources.push_back(source);
      news = true;
    }
    blob = known;
    record->SetLayer(std::move(changed));
    copy = *record;
    reference = Refer(record);
  }
  if (news) {
    RETURN_IF_ERROR(Write([&](store::Connection& connection) -> absl::Status {
      if (!copy.persisted) RETURN_IF_ERROR(SaveRecord(connection, copy));
      return SaveLayer(connection, copy.id, form, blob);
    }));
    auto table = table_.Lock();
    record->persisted = true;
  }
  return reference;
}

absl::StatusOr<SnapshotPtr> LocalSnapshots::Get(const SnapshotId& id) {
  ASSIGN_OR_RETURN(SnapshotPtr snapshot, Find(id));
  if (snapshot == nullptr) return nullptr;
  const RecordPtr record = RecordOf(snapshot);
  auto table = table_.Lock();
  record->used_at = options_.clock->Now();
  ++record->usage_count;
  record->used_changed = true;
  return snapshot;
}

absl::StatusOr<SnapshotPtr> LocalSnapshots::FindNamed(const std::string& key) {
  SnapshotId id;
  {
    auto table = table_.Lock();
    const auto found = table->names.find(key);
    if (found == table->names.end()) return nullptr;
    id = found->second;
  }
  return Get(id);
}

absl::Status LocalSnapshots::SetName(const SnapshotPtr& snapshot, const std::string& key) {
  const RecordPtr record = RecordOf(snapshot);
  RETURN_IF_ERROR(Write([&](store::Connection& connection) {
    return connection.Run("INSERT OR REPLACE INTO snapshot_names (key, snapshot) VALUES (?1, ?2)", key, record->id);
  }));
  table_.Lock()->names[key] = record->id;
  return absl::OkStatus();
}

absl::Status LocalSnapshots::ForgetNames(const std::string& key) {
  std::map<std::string, SnapshotId> names;
  {
    auto table = table_.Lock();
    for (const auto& [name, id] : table->names) {
      const bool named = absl::StartsWith(name, key) && (name.size() == key.size() || name[key.size()] == ':' || name[key.size()] == '#');
      if (named) names[name] = id;
    }
  }
  if (names.empty()) return absl::OkStatus();
  std::vector<SnapshotPtr> unused;
  for (const auto& [name, id] : names) {
    ASSIGN_OR_RETURN(SnapshotPtr snapshot, Find(id));
    if (snapshot != nullptr) unused.push_back(std::move(snapshot));
  }
  RETURN_IF_ERROR(WriteSetAside([&](store::Connection& connection) -> absl::Status {
    for (const SnapshotPtr& snapshot : unused) RETURN_IF_ERROR(DeleteRecord(connection, snapshot->id()));
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(options_.database->Sync());
  auto table = table_.Lock();
  for (const SnapshotPtr& snapshot : unused) RecordOf(snapshot)->kept = RecordOf(snapshot)->persisted = false;
  absl::erase_if(table->names, [&](const auto& entry) {
    const auto forgotten = names.find(entry.first);
    return forgotten != names.end() && forgotten->second == entry.second;
  });
  return absl::OkStatus();
}

absl::Status LocalSnapshots::Keep(const SnapshotPtr& active) {
  const RecordPtr record = RecordOf(active);
  {
    auto table = table_.Lock();
    if (record->kept) return absl::OkStatus();
    record->kept = true;
  }
  const absl::Status status = Persist(record);
  if (!status.ok()) {
    auto table = table_.Lock();
    record->kept = false;
  }
  return status;
}

absl::Status LocalSnapshots::AboutToChange(const RecordPtr& active) {
  {
    auto table = table_.Lock();
    if (!active->synced) return absl::OkStatus();
  }
  RETURN_IF_ERROR(WriteSetAside(
      [&](store::Connection& connection) { return connection.Run("UPDATE snapshots SET durable = 0 WHERE id = ?1 AND state = 0", active->id); }));
  RETURN_IF_ERROR(options_.database->Sync());
  auto table = table_.Lock();
  active->synced = false;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Snapshots>> OpenSnapshots(const Options& options) {
  auto snapshots = std::make_unique<LocalSnapshots>(options);
  RETURN_IF_ERROR(snapshots->Start());
  return snapshots;
}

}  // namespace cachalot::snapshot
