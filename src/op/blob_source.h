// Source operations "docker-image+blob://" and "oci-layout+blob://": a single blob of a repository or layout as a file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "op/environment.h"
#include "op/image_origin.h"
#include "op/pinned.h"
#include "op/single_file.h"
#include "solver/solver.h"

namespace cachalot::op {

class BlobSource : public solver::Operation, public Pinned {
 public:
  BlobSource(llb::VertexPtr vertex, EnvironmentPtr environment) : vertex_(std::move(vertex)), environment_(std::move(environment)) {}
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;
  std::string Pin() const override { return source_.ref.digest.str(); }

 private:
  absl::Status Parse();

  const llb::VertexPtr vertex_;
  const EnvironmentPtr environment_;
  OriginAndReference source_;
  FileOptions file_;
};

// Brings the blob that `source` (of one of these schemes) names into the blob store. It stays there while the pin lives.
absl::StatusOr<std::shared_ptr<store::BlobPin>> FetchBlob(const OriginAndReference& source, store::BlobStore& blobs, const CancelToken& cancel);

}  // namespace cachalot::op
