// Snapshots as layers that travel: blobs are found, fetched, converted or made by diffing.
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/parallel.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "codec/compression.h"
#include "codec/sha256.h"
#include "codec/tar.h"
#include "codec/write_behind.h"
#include "snapshot/change_sinks.h"
#include "snapshot/layer_walk.h"
#include "snapshot/local_snapshots.h"

namespace cachalot::snapshot {

namespace {

constexpr int kHelpers = 3;

// The name under which a layer of this compression is remembered.
std::string FormOf(const Compression& compression) {
  return compression.level < 0 ? compression.type : absl::StrCat(compression.type, ":", compression.level);
}

std::string TypeOfForm(const std::string& form) { return form.substr(0, form.find(':')); }

// Uncompressed bytes in, a compressed blob out; compression runs on a thread of its own.
class BlobEncoder {
 public:
  static absl::StatusOr<std::unique_ptr<BlobEncoder>> Create(store::BlobStore& blobs, const Compression& compression) {
    auto encoder = std::unique_ptr<BlobEncoder>(new BlobEncoder());
    ASSIGN_OR_RETURN(encoder->writer_, blobs.NewWriter());
    encoder->to_writer_ =
        std::make_unique<codec::FunctionSink>([writer = encoder->writer_.get()](absl::string_view bytes) { return writer->Write(bytes); });
    ASSIGN_OR_RETURN(const codec::Compression kind, codec::ParseCompression(compression.type));
    ASSIGN_OR_RETURN(encoder->compressor_, codec::NewCompressor(kind, compression.level, encoder->to_writer_.get()));
    encoder->behind_ = std::make_unique<codec::WriteBehind>(encoder->compressor_.get());
    if (kind != codec::Compression::kNone) encoder->digest_ = std::make_unique<codec::DigestingSink>(encoder->behind_.get());
    return encoder;
  }

  codec::Sink& sink() { return digest_ != nullptr ? static_cast<codec::Sink&>(*digest_) : *behind_; }

  // The blob's digest and size, and the digest of what went in.
  struct Outcome {
    oci::Digest blob, diff_id;
    std::int64_t size;
  };
  absl::StatusOr<Outcome> Finish() {
    RETURN_IF_ERROR(behind_->Finish());
    RETURN_IF_ERROR(compressor_->Finish());
    Outcome outcome;
    ASSIGN_OR_RETURN(outcome.blob, writer_->Commit());
    outcome.size = writer_->written();
    outcome.diff_id = digest_ != nullptr ? oci::Digest::FromSha256Hex(digest_->FinishHex()) : outcome.blob;
    return outcome;
  }

 private:
  BlobEncoder() = default;
  // Destroyed from the last to the first: the thread goes before what it writes to.
  std::unique_ptr<store::BlobWriter> writer_;
  std::unique_ptr<codec::Sink> to_writer_;
  std::unique_ptr<codec::Compressor> compressor_;
  std::unique_ptr<codec::WriteBehind> behind_;
  std::unique_ptr<codec::DigestingSink> digest_;  // null without compression: the blob's own digest is the same
};

}  // namespace

absl::StatusOr<std::vector<Layer>> LocalSnapshots::Layers(const SnapshotPtr& snapshot, const Compression& compression, bool keep_remote,
                                                          BlobFetcher& fetcher, const CancelToken& cancel) {
  const std::vector<RecordPtr> chain = ChainOfRecords(RecordOf(snapshot));
  std::vector<Layer> layers(chain.size());
  RETURN_IF_ERROR(ParallelFor(*options_.cpu, kHelpers, chain.size(), [&](std::size_t i) -> absl::Status {
    ASSIGN_OR_RETURN(layers[i], LayerFor(chain[i], compression, keep_remote, fetcher, cancel));
    ASSIGN_OR_RETURN(const std::string type, oci::LayerCompression(layers[i].blob.media_type));
    const bool foreign = compression.keep_foreign && oci::IsForeignLayer(layers[i].blob.media_type);
    layers[i].blob.media_type = oci::LayerMediaType(type, compression.oci_media_types, foreign);
    layers[i].created_at = chain[i]->created_at;
    auto table = table_.Lock();
    layers[i].description = chain[i]->label.description;
    return absl::OkStatus();
  }));
  // From now on a pulled layer of the same content finds these snapshots. In order, since a chain's name builds on its parent's.
  std::vector<Record> named;
  {
    auto table = table_.Lock();
    for (const RecordPtr& record : chain) {
      const std::string below = record->parent == nullptr ? "" : record->parent->layer().chain;
      KnownLayer layer = record->layer();
      if (!layer.chain.empty() || layer.diff_id.empty() || (record->parent != nullptr && below.empty())) continue;
      layer.chain = ChainOf(below, layer.diff_id);
      table->chains.try_emplace(layer.chain, record->id);
      record->SetLayer(std::move(layer));
      named.push_back(*record);
    }
  }
  if (!named.empty()) {
    RETURN_IF_ERROR(Write([&](store::Connection& connection) -> absl::Status {
      for (const Record& record : named) RETURN_IF_ERROR(SaveRecord(connection, record));
      return absl::OkStatus();
    }));
  }
  return layers;
}

bool LocalSnapshots::IsInReach(const LayerBlob& blob) { return !blob.sources.empty() || options_.blobs->Has(blob.descriptor.digest); }

KnownLayer LocalSnapshots::UsableLayer(const RecordPtr& record) {
  KnownLayer layer;
  bool lazy = false;
  {
    auto table = table_.Lock();
    layer = record->layer();
    lazy = record->state == State::kLazy;
  }
  KnownLayer usable = layer;
  std::erase_if(usable.blobs, [&](const auto& entry) { return !IsInReach(entry.second); });
  return lazy && usable.blobs.empty() ? layer : usable;
}

Layer LocalSnapshots::AnyLayer(const RecordPtr& record) {
  const KnownLayer known = UsableLayer(record);
  if (known.blobs.empty()) return {};
  const LayerBlob& blob = known.blobs.begin()->second;
  return {blob.descriptor, known.diff_id, blob.sources};
}

std::vector<Layer> LocalSnapshots::KnownLayers(const SnapshotPtr& snapshot) {
  std::vector<Layer> layers;
  for (const RecordPtr& record : ChainOfRecords(RecordOf(snapshot))) {
    layers.push_back(AnyLayer(record));
    if (layers.back().blob.digest.empty()) return {};
    layers.back().created_at = record->created_at;
    auto table = table_.Lock();
    layers.back().description = record->label.description;
  }
  return layers;
}

absl::StatusOr<std::optional<std::vector<Layer>>> LocalSnapshots::LayersAtHand(const SnapshotPtr& snapshot, const Compression& compression) {
  std::vector<Layer> layers;
  for (const RecordPtr& record : ChainOfRecords(RecordOf(snapshot))) {
    std::optional<Layer> layer = ChooseLayer(record, compression);
    if (!layer.has_value() || (layer->sources.empty() && !options_.blobs->Has(layer->blob.digest))) return std::optional<std::vector<Layer>>();
    ASSIGN_OR_RETURN(const std::string type, oci::LayerCompression(layer->blob.media_type));
    layer->blob.media_type = oci::LayerMediaType(type, compression.oci_media_types);
    layer->created_at = record->created_at;
    layers.push_back(*std::move(layer));
  }
  return std::optional(std::move(layers));
}

std::optional<Layer> LocalSnapshots::ChooseLayer(const RecordPtr& record, const Compression& compression) {
  {
    auto table = table_.Lock();
    if (record->state == State::kActive) return std::nullopt;
  }
  const KnownLayer known = UsableLayer(record);
  const std::map<std::string, LayerBlob>& blobs = known.blobs;
  auto best = blobs.find(FormOf(compression));
  for (auto it = blobs.begin(); it != blobs.end() && best == blobs.end(); ++it) {
    // A level is a wish for new blobs only, unless it is to be forced.
    if (TypeOfForm(it->first) == compression.type && (compression.level < 0 || !compression.force)) best = it;
  }
  if (best == blobs.end() && !compression.force) best = blobs.begin();
  if (best == blobs.end()) return std::nullopt;
  return Layer{best->second.descriptor, known.diff_id, best->second.sources};
}

absl::StatusOr<Layer> LocalSnapshots::LayerFor(const RecordPtr& record, const Compression& compression, bool keep_remote, BlobFetcher& fetcher,
                                               const CancelToken& cancel) {
  const std::string form = FormOf(compression);
  if (const std::optional<Layer> layer = ChooseLayer(record, compression); layer.has_value()) {
    if (options_.blobs->Has(layer->blob.digest) || (keep_remote && !layer->sources.empty())) return *layer;
    RETURN_IF_ERROR(EnsureBlob(*layer, fetcher, cancel));
    return *layer;
  }
  RETURN_IF_ERROR(flights_.Once(absl::StrCat("layer/", record->id, "/", form), cancel, [&]() -> absl::Status {
    if (ChooseLayer(record, compression).has_value()) return absl::OkStatus();
    State state;
    {
      auto table = table_.Lock();
      state = record->state;
    }
    const Layer other = AnyLayer(record);
    if (state == State::kActive) return absl::FailedPreconditionError(absl::StrCat("snapshot ", record->id, " is not committed"));
    if (other.blob.digest.empty()) {
      // What is below may have come as blobs: a merge puts layers upon such.
      SnapshotPtr below;
      if (record->parent != nullptr) {
        auto table = table_.Lock();
        below = Refer(record->parent);
      }
      RETURN_IF_ERROR(Materialize(below, fetcher, cancel));
      return MakeLayer(record, compression, form, cancel).status();
    }
    RETURN_IF_ERROR(EnsureBlob(other, fetcher, cancel));
    return ConvertLayer(record, other, compression, form, cancel).status();
  }));
  const std::optional<Layer> layer = ChooseLayer(record, compression);
  if (!layer.has_value()) return absl::InternalError(absl::StrCat("layer of snapshot ", record->id, " was made, but is not there"));
  return *layer;
}

absl::StatusOr<Layer> LocalSnapshots::MakeLayer(const RecordPtr& record, const Compression& compression, const std::string& form,
                                                const CancelToken& cancel) {
  std::shared_ptr<MountedTree> base;
  ASSIGN_OR_RETURN(const LayerWalk walk, WalkOf(record, &base));
  ASSIGN_OR_RETURN(std::unique_ptr<BlobEncoder> encoder, BlobEncoder::Create(*options_.blobs, compression));
  codec::TarWriter tar(&encoder->sink());
  TarChangeSink sink(&tar);
  const absl::Status walked = WalkLayer(walk, sink, cancel);
  if (!walked.ok()) return Annotate(walked, absl::StrCat("layer of snapshot ", record->id));
  RETURN_IF_ERROR(tar.Finish());
  ASSIGN_OR_RETURN(const BlobEncoder::Outcome outcome, encoder->Finish());
  const std::shared_ptr<store::BlobPin> pin = options_.blobs->Pin(outcome.blob);
  LayerBlob blob;
  blob.descriptor.media_type = oci::LayerMediaType(compression.type, true);
  blob.descriptor.digest = outcome.blob;
  blob.descriptor.size = outcome.size;
  RETURN_IF_ERROR(RememberLayer(record, form, blob, outcome.diff_id));
  return Layer{blob.descriptor, outcome.diff_id, {}};
}

absl::StatusOr<Layer> LocalSnapshots::ConvertLayer(const RecordPtr& record, const Layer& from, const Compression& compression,
                                                   const std::string& form, const CancelToken& cancel) {
  const std::shared_ptr<store::BlobPin> source_pin = options_.blobs->Pin(from.blob.digest);
  ASSIGN_OR_RETURN(const std::unique_ptr<codec::Source> plain, OpenPlain(from.blob.digest));
  ASSIGN_OR_RETURN(std::unique_ptr<BlobEncoder> encoder, BlobEncoder::Create(*options_.blobs, compression));
  codec::FunctionSink cancellable([&](absl::string_view bytes) { return cancel.cancelled() ? cancel.status() : encoder->sink().Write(bytes); });
  RETURN_IF_ERROR(codec::Copy(*plain, cancellable).status());
  ASSIGN_OR_RETURN(const BlobEncoder::Outcome outcome, encoder->Finish());
  if (outcome.diff_id != from.diff_id) {
    return absl::DataLossError(
        absl::StrCat("layer ", from.blob.digest.str(), ": unexpected diff id: got ", outcome.diff_id.str(), ", expected ", from.diff_id.str()));
  }
  const std::shared_ptr<store::BlobPin> pin = options_.blobs->Pin(outcome.blob);
  LayerBlob blob;
  blob.descriptor = from.blob;
  blob.descriptor.media_type = oci::LayerMediaType(compression.type, true);
  blob.descriptor.digest = outcome.blob;
  blob.descriptor.size = outcome.size;
  RETURN_IF_ERROR(RememberLayer(record, form, blob, outcome.diff_id));
  return Layer{blob.descriptor, outcome.diff_id, {}};
}

absl::Status LocalSnapshots::RememberLayer(const RecordPtr& record, const std::string& form, const LayerBlob& blob, const oci::Digest& diff_id) {
  const auto with_blob = [&](const Record& known) {
    KnownLayer layer = known.layer();
    layer.blobs[form] = blob;
    layer.diff_id = diff_id;
    return layer;
  };
  Record copy;
  {
    auto table = table_.Lock();
    copy = *record;
  }
  copy.SetLayer(with_blob(copy));
  RETURN_IF_ERROR(Write([&](store::Connection& connection) -> absl::Status {
    RETURN_IF_ERROR(SaveRecord(connection, copy));
    return SaveLayer(connection, copy.id, form, blob);
  }));
  auto table = table_.Lock();
  record->SetLayer(with_blob(*record));
  return absl::OkStatus();
}

}  // namespace cachalot::snapshot
