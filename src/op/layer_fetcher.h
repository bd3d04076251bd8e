// Pulling layers when somebody needs their files, whoever it is.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "base/clock.h"
#include "registry/client.h"
#include "snapshot/snapshots.h"
#include "solver/progress.h"

namespace cachalot::op {

// Fetches with one build's credentials and shows the transfers beneath the vertex that brought the layer in. Thread-safe.
class LayerFetcher : public snapshot::BlobFetcher {
 public:
  LayerFetcher(registry::Client* registry, Clock* clock, std::shared_ptr<registry::Credentials> credentials,
               std::shared_ptr<solver::ProgressSink> progress)
      : registry_(registry), clock_(clock), credentials_(std::move(credentials)), progress_(std::move(progress)) {}

  // Layers with this digest came in with the vertex.
  void Announce(const oci::Digest& blob, const solver::VertexEvent& vertex);

  absl::Status Fetch(const snapshot::Layer& layer, store::BlobStore& blobs, const CancelToken& cancel) override;
  void OnExtract(const snapshot::Layer& layer, bool done) override;

 private:
  solver::VertexEvent VertexOf(const oci::Digest& blob);

  registry::Client* const registry_;
  Clock* const clock_;
  const std::shared_ptr<registry::Credentials> credentials_;
  const std::shared_ptr<solver::ProgressSink> progress_;
  std::mutex mutex_;
  std::map<oci::Digest, solver::VertexEvent> vertices_;
  std::map<oci::Digest, absl::Time> extract_started_;
};

}  // namespace cachalot::op
