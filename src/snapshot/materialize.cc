// Making the files of lazy snapshots: fetching and unpacking their layers.
#include <algorithm>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "codec/compression.h"
#include "codec/sha256.h"
#include "os/file.h"
#include "snapshot/apply_layer.h"
#include "snapshot/local_snapshots.h"
#include "snapshot/whole_trees.h"

namespace cachalot::snapshot {

namespace {

constexpr std::size_t kParallelFetches = 4;

// Fetches blobs on a few threads, in order of need.
class Prefetcher {
 public:
  Prefetcher(std::vector<Layer> layers, const CancelToken& cancel, std::function<absl::Status(const Layer&, const CancelToken&)> fetch)
      : layers_(std::move(layers)), cancel_(cancel), fetch_(std::move(fetch)) {
    progress_.Lock()->done.resize(layers_.size());
    for (std::size_t i = 0; i < std::min(kParallelFetches, layers_.size()); ++i) threads_.push_back(NewThread([this] { Loop(); }));
  }
  ~Prefetcher() {
    cancel_.Cancel();
    for (std::thread& thread : threads_) thread.join();
  }

  absl::Status Wait(std::size_t index) {
    auto progress = progress_.Lock();
    progress.Wait([&](const Progress& p) { return p.done[index].has_value(); });
    return *progress->done[index];
  }

 private:
  struct Progress {
    std::size_t next = 0;
    std::vector<std::optional<absl::Status>> done;
  };

  void Loop() {
    while (true) {
      std::size_t index;
      {
        auto progress = progress_.Lock();
        index = progress->next++;
      }
      if (index >= layers_.size()) return;
      const CancelToken token = cancel_.token();
      absl::Status status = token.cancelled() ? token.status() : fetch_(layers_[index], token);
      progress_.Lock()->done[index] = std::move(status);
      progress_.NotifyAll();
    }
  }

  const std::vector<Layer> layers_;
  CancelSource cancel_;
  const std::function<absl::Status(const Layer&, const CancelToken&)> fetch_;
  Guarded<Progress> progress_;
  std::vector<std::thread> threads_;
};

}  // namespace

absl::Status LocalSnapshots::EnsureBlob(const Layer& layer, BlobFetcher& fetcher, const CancelToken& cancel) {
  const oci::Digest& digest = layer.blob.digest;
  if (options_.blobs->Has(digest)) return absl::OkStatus();
  return flights_.Once(absl::StrCat("blob/", digest.str()), cancel, [&]() -> absl::Status {
    if (options_.blobs->Has(digest)) return absl::OkStatus();
    RETURN_IF_ERROR(fetcher.Fetch(layer, *options_.blobs, cancel));
    if (!options_.blobs->Has(digest)) return absl::InternalError(absl::StrCat("blob ", digest.str(), " was fetched, but is not there"));
    return absl::OkStatus();
  });
}

absl::Status LocalSnapshots::Materialize(const SnapshotPtr& snapshot, BlobFetcher& fetcher, const CancelToken& cancel) {
  std::vector<RecordPtr> lazy;
  std::vector<Layer> layers;
  {
    auto table = table_.Lock();
    for (const RecordPtr& record : ChainOfRecords(RecordOf(snapshot))) {
      if (record->state != State::kLazy) continue;
      lazy.push_back(record);
    }
  }
  for (const RecordPtr& record : lazy) layers.push_back(AnyLayer(record));
  if (lazy.empty()) return absl::OkStatus();
  Prefetcher prefetcher(layers, cancel, [&](const Layer& layer, const CancelToken& token) { return EnsureBlob(layer, fetcher, token); });
  for (std::size_t i = 0; i < lazy.size(); ++i) {
    if (absl::Status status = prefetcher.Wait(i); !status.ok()) {
      if (cancel.cancelled()) return cancel.status();
      if (absl::IsNotFound(status)) RETURN_IF_ERROR(ForgetBlob(lazy[i], layers[i].blob.digest));
      return status;
    }
    RETURN_IF_ERROR(flights_.Once(absl::StrCat("apply/", lazy[i]->id), cancel, [&] { return ApplyRecord(lazy[i], layers[i], fetcher, cancel); }));
  }
  return absl::OkStatus();
}

absl::Status LocalSnapshots::ApplyRecord(const RecordPtr& record, const Layer& layer, BlobFetcher& fetcher, const CancelToken& cancel) {
  {
    auto table = table_.Lock();
    if (record->state != State::kLazy) return absl::OkStatus();
  }
  fetcher.OnExtract(layer, false);
  RETURN_IF_ERROR(os::RemoveTree(DirectoryPath(record->directory)));  // what an interrupted attempt left
  RETURN_IF_ERROR(UnpackBlob(*record, layer, cancel));
  {
    auto table = table_.Lock();
    record->state = State::kCommitted;
    record->size = -1;
  }
  if (const absl::Status status = Persist(record); !status.ok()) {
    auto table = table_.Lock();
    record->state = State::kLazy;
    return status;
  }
  fetcher.OnExtract(layer, true);
  return absl::OkStatus();
}

absl::Status LocalSnapshots::ForgetBlob(const RecordPtr& record, const oci::Digest& blob) {
  std::vector<std::string> forms;
  {
    auto table = table_.Lock();
    KnownLayer layer = record->layer();
    std::erase_if(layer.blobs, [&](const auto& known) {
      if (known.second.descriptor.digest != blob) return false;
      forms.push_back(known.first);
      return true;
    });
    record->SetLayer(std::move(layer));
    // Who wants this snapshot, or one that stands on it, looks again whether it is lost.
    for (const auto& [id, above] : table->records) {
      if (above->StandsOn(*record)) above->seen = false;
    }
  }
  return Write([&](store::Connection& connection) -> absl::Status {
    for (const std::string& form : forms) {
      RETURN_IF_ERROR(connection.Run("DELETE FROM snapshot_layers WHERE snapshot = ?1 AND form = ?2", record->id, form));
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::unique_ptr<codec::Source>> LocalSnapshots::OpenPlain(const oci::Digest& blob) {
  ASSIGN_OR_RETURN(UniqueFd fd, options_.blobs->Open(blob));
  return codec::NewAutoDecompressor(std::make_unique<codec::FdSource>(std::move(fd), blob.str()));
}

absl::Status LocalSnapshots::UnpackBlob(const Record& record, const Layer& layer, const CancelToken& cancel) {
  const std::shared_ptr<store::BlobPin> pin = options_.blobs->Pin(layer.blob.digest);
  ASSIGN_OR_RETURN(const std::string directory, MakeLayerDirectory(record));
  std::vector<std::string> lowers;
  if (record.parent != nullptr && !whole_trees()) lowers = LowerPaths(record.parent);
  if (record.parent != nullptr && whole_trees()) {
    RETURN_IF_ERROR(CopyWholeTree(LayerPath(*record.parent), directory, cancel));
    ASSIGN_OR_RETURN(const std::unique_ptr<codec::Source> archive, OpenPlain(layer.blob.digest));
    if (absl::Status status = RemoveHidden(*archive, directory, cancel); !status.ok())
      return Annotate(status, absl::StrCat("layer ", layer.blob.digest.str()));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<codec::Source> plain, OpenPlain(layer.blob.digest));
  auto digesting = std::make_unique<codec::DigestingSource>(std::move(plain));
  codec::DigestingSource* const digest = digesting.get();
  // Decompressing and digesting go on on a thread of their own while files are written here.
  const std::unique_ptr<codec::Source> archive = codec::NewReadAhead(std::move(digesting));
  const absl::Status applied = ApplyLayer(*archive, directory, lowers, cancel);
  if (!applied.ok()) return Annotate(applied, absl::StrCat("layer ", layer.blob.digest.str()));
  const oci::Digest actual = oci::Digest::FromSha256Hex(digest->FinishHex());
  if (actual != layer.diff_id) {
    return absl::DataLossError(
        absl::StrCat("layer ", layer.blob.digest.str(), ": unexpected diff id: got ", actual.str(), ", expected ", layer.diff_id.str()));
  }
  return absl::OkStatus();
}

}  // namespace cachalot::snapshot
