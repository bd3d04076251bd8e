#include "op/layer_fetcher.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "oci/reference.h"

namespace cachalot::op {
namespace {

constexpr absl::Duration kStatusInterval = absl::Milliseconds(100);

}  // namespace

void LayerFetcher::Announce(const oci::Digest& blob, const solver::VertexEvent& vertex) {
  std::lock_guard lock(mutex_);
  vertices_.emplace(blob, vertex);
}

solver::VertexEvent LayerFetcher::VertexOf(const oci::Digest& blob) {
  std::lock_guard lock(mutex_);
  return ValueOf(vertices_, blob);
}

absl::Status LayerFetcher::Fetch(const snapshot::Layer& layer, store::BlobStore& blobs, const CancelToken& cancel) {
  if (blobs.Has(layer.blob.digest)) return absl::OkStatus();
  solver::VertexEvent vertex = VertexOf(layer.blob.digest);
  vertex.started = clock_->Now();
  vertex.completed.reset();
  solver::StatusEvent status;
  status.vertex = vertex.digest;
  status.id = layer.blob.digest.str();
  status.total = layer.blob.size;
  status.started = vertex.started;
  absl::Time shown = absl::InfinitePast();
  auto show = [&](std::int64_t current, bool last) {
    const absl::Time now = clock_->Now();
    if (vertex.digest.empty() || (!last && now - shown < kStatusInterval)) return;
    shown = now;
    status.current = current;
    status.timestamp = now;
    if (last) status.completed = now;
    progress_->OnStatus(status);
  };
  if (!vertex.digest.empty()) progress_->OnVertex(vertex);
  // NOT_FOUND only if every source says so: then it is given up.
  absl::Status result = absl::NotFoundError(absl::StrCat("layer ", layer.blob.digest.str(), " is neither here nor is known where to get it"));
  for (absl::string_view source : layer.sources) {
    const bool insecure = absl::ConsumePrefix(&source, snapshot::kInsecureSource);
    absl::StatusOr<oci::Reference> ref = oci::Reference::ParseNormalized(source);
    if (!ref.ok()) {
      if (absl::IsNotFound(result)) result = ref.status();
      continue;
    }
    registry::Options options;
    options.credentials = credentials_;
    options.insecure = insecure;
    options.cancel = cancel;
    options.on_progress = [&](const oci::Descriptor&, std::int64_t done) { show(done, false); };
    absl::Status fetched = Annotate(registry_->FetchBlob(*ref, layer.blob, blobs, options), absl::StrCat("failed to fetch layer from ", source));
    if (fetched.ok() || absl::IsNotFound(result)) result = std::move(fetched);
    if (result.ok() || cancel.cancelled()) break;
  }
  if (result.ok()) show(layer.blob.size, true);
  if (!vertex.digest.empty()) {
    vertex.completed = clock_->Now();
    if (!result.ok()) vertex.error = std::string(result.message());
    progress_->OnVertex(vertex);
  }
  return result;
}

void LayerFetcher::OnExtract(const snapshot::Layer& layer, bool done) {
  const solver::VertexEvent vertex = VertexOf(layer.blob.digest);
  if (vertex.digest.empty()) return;
  solver::StatusEvent status;
  status.vertex = vertex.digest;
  status.id = absl::StrCat("extracting ", layer.blob.digest.str());
  status.name = "extract";
  status.timestamp = clock_->Now();
  {
    std::lock_guard lock(mutex_);
    status.started = extract_started_.emplace(layer.blob.digest, status.timestamp).first->second;
  }
  if (done) status.completed = status.timestamp;
  progress_->OnStatus(status);
}

}  // namespace cachalot::op
