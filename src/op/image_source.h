// Source operations "docker-image://" and "oci-layout://": an image's tree, from a registry or from the client.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "op/environment.h"
#include "op/image_resolver.h"
#include "op/pinned.h"
#include "solver/solver.h"

namespace cachalot::op {

class ImageSource : public solver::Operation, public Pinned {
 public:
  ImageSource(llb::VertexPtr vertex, EnvironmentPtr environment) : vertex_(std::move(vertex)), environment_(std::move(environment)) {}
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;
  absl::StatusOr<bool> Accepts(int output, const solver::ResultPtr& cached) override;
  std::string Pin() const override { return image_ == nullptr ? "" : image_->digest.str(); }

 private:
  absl::Status Resolve(const solver::OpContext& context);
  // How many of the image's layers are wanted.
  absl::Status CountLayers();
  // Takes the layers that nobody but this client can give.
  absl::Status FetchLayers(const solver::OpContext& context);
  // The snapshot of the layers, which need not be here yet.
  absl::StatusOr<snapshot::SnapshotPtr> Tree();

  const llb::VertexPtr vertex_;
  const EnvironmentPtr environment_;
  std::shared_ptr<ImageOrigin> origin_;
  ResolvedManifestPtr image_;
  std::size_t layer_count_ = 0;
};

}  // namespace cachalot::op
