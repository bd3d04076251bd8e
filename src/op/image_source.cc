#include "op/image_source.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "op/cache_digest.h"
#include "op/layer_fetcher.h"
#include "op/result.h"

namespace cachalot::op {
namespace {

constexpr absl::Duration kStatusInterval = absl::Milliseconds(100);

absl::Status CheckAttributes(const llb::SourceOp& op) {
  const std::string mode = ValueOf(op.attrs, "image.resolvemode");
  if (!mode.empty() && mode != "default" && mode != "local" && mode != "pull")
    return absl::InvalidArgumentError(absl::StrCat("invalid resolvemode: ", mode));
  const std::string type = ValueOf(op.attrs, "image.recordtype");
  if (!type.empty() && type != "regular" && type != "internal" && type != "frontend") {
    return absl::InvalidArgumentError(absl::StrCat("invalid record type ", type));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ImageSource::Resolve(const solver::OpContext& context) {
  const auto& op = std::get<llb::SourceOp>(vertex_->op);
  RETURN_IF_ERROR(CheckAttributes(op));
  ASSIGN_OR_RETURN(const OriginAndReference source, OriginOf(op, *environment_));
  origin_ = source.origin;
  solver::StatusEvent status;
  status.id = absl::StrCat("resolve ", source.ref.str());
  status.started = status.timestamp = environment_->parts.clock->Now();
  context.progress->Status(status);
  absl::StatusOr<ResolvedManifestPtr> image = environment_->images->Resolve(
      source.ref, *origin_, vertex_->platform.has_value() ? *vertex_->platform : environment_->platform, context.cancel);
  status.completed = status.timestamp = environment_->parts.clock->Now();
  context.progress->Status(status);
  RETURN_IF_ERROR(image.status());
  image_ = *std::move(image);
  const std::string checksum = ValueOf(op.attrs, "image.checksum");
  if (!checksum.empty() && image_->digest.str() != checksum) {
    return absl::FailedPreconditionError(
        absl::StrCat("image digest ", image_->digest.str(), " for ", image_->ref.str(), " does not match expected checksum ", checksum));
  }
  return CountLayers();
}

absl::Status ImageSource::CountLayers() {
  const auto& op = std::get<llb::SourceOp>(vertex_->op);
  if (image_->config.diff_ids.size() != image_->manifest.layers.size()) {
    return absl::InvalidArgumentError(absl::StrCat("mismatched image rootfs and manifest layers of ", image_->ref.str(), ": ",
                                                   image_->config.diff_ids.size(), " and ", image_->manifest.layers.size()));
  }
  layer_count_ = image_->manifest.layers.size();
  const std::string limit = ValueOf(op.attrs, absl::StartsWith(op.identifier, "oci-layout:") ? "oci.layerlimit" : "image.layerlimit");
  if (limit.empty()) return absl::OkStatus();
  std::size_t bound = 0;
  if (!absl::SimpleAtoi(limit, &bound) || bound == 0) return absl::InvalidArgumentError(absl::StrCat("invalid layer limit ", limit));
  if (bound > layer_count_) {
    return absl::InvalidArgumentError(absl::StrCat("layer limit ", bound, " is greater than the number of layers in the image ", layer_count_));
  }
  layer_count_ = bound;
  return absl::OkStatus();
}

absl::Status ImageSource::FetchLayers(const solver::OpContext& context) {
  for (std::size_t i = 0; i < layer_count_; ++i) {
    const oci::Descriptor& layer = image_->manifest.layers[i];
    if (environment_->parts.blobs->Has(layer.digest)) continue;
    solver::StatusEvent status;
    status.id = layer.digest.str();
    status.total = layer.size;
    status.started = status.timestamp = environment_->parts.clock->Now();
    context.progress->Status(status);
    const auto show = [&](std::int64_t done) {
      const absl::Time now = environment_->parts.clock->Now();
      if (now - status.timestamp < kStatusInterval) return;
      status.timestamp = now;
      status.current = done;
      context.progress->Status(status);
    };
    RETURN_IF_ERROR(origin_->Fetch(image_->ref, layer, *environment_->parts.blobs, show, context.cancel));
    status.current = layer.size;
    status.completed = status.timestamp = environment_->parts.clock->Now();
    context.progress->Status(status);
  }
  return absl::OkStatus();
}

absl::StatusOr<solver::CacheMap> ImageSource::DescribeCache(const solver::OpContext& context) {
  RETURN_IF_ERROR(Resolve(context));
  solver::VertexEvent vertex;
  vertex.digest = vertex_->digest.str();
  vertex.name = vertex_->Name();
  vertex.group = vertex_->metadata.progress_group;
  for (std::size_t i = 0; i < layer_count_; ++i) environment_->layers->Announce(image_->manifest.layers[i].digest, vertex);
  solver::CacheMap map;
  std::vector<oci::Digest> diff_ids = image_->config.diff_ids;
  diff_ids.resize(layer_count_);
  // Images of the same layers are the same tree, whatever they are called and configured.
  const std::string by_layers = ChainId(diff_ids);
  const std::string by_manifest = ImageDigest(image_->digest.str(), vertex_->platform.value_or(environment_->platform));
  map.op_digest = SourceOpDigest(by_layers.empty() ? by_manifest : by_layers);
  const bool whole = layer_count_ == image_->manifest.layers.size();
  if (!by_layers.empty() && whole) map.other_digests.push_back(SourceOpDigest(by_manifest));
  return map;
}

absl::StatusOr<std::string> ImageSource::ContentDigest(int, const solver::ResultPtr&, const solver::OpContext&) {
  return absl::InternalError("an image source has no inputs");
}

absl::StatusOr<std::vector<solver::ResultPtr>> ImageSource::Run(const std::vector<solver::ResultPtr>&, const solver::OpContext& context) {
  if (image_ == nullptr) {
    RETURN_IF_ERROR(Resolve(context));
  }
  std::vector<std::shared_ptr<store::BlobPin>> pins;
  if (!origin_->lasting()) {
    for (std::size_t i = 0; i < layer_count_; ++i) pins.push_back(environment_->parts.blobs->Pin(image_->manifest.layers[i].digest));
    RETURN_IF_ERROR(FetchLayers(context));
  }
  ASSIGN_OR_RETURN(snapshot::SnapshotPtr tree, Tree());
  return std::vector<solver::ResultPtr>{std::make_shared<TreeResult>(std::move(tree))};
}

// The key says which files the image claims to hold; another image that claims the same may have other layers.
absl::StatusOr<bool> ImageSource::Accepts(int, const solver::ResultPtr& cached) {
  if (image_ == nullptr) return true;
  ASSIGN_OR_RETURN(const snapshot::SnapshotPtr tree, Tree());
  const snapshot::SnapshotPtr& other = TreeOf(cached);
  return tree == nullptr || other == nullptr ? tree == other : tree->id() == other->id();
}

absl::StatusOr<snapshot::SnapshotPtr> ImageSource::Tree() {
  const std::string type = ValueOf(std::get<llb::SourceOp>(vertex_->op).attrs, "image.recordtype");
  snapshot::Label label;
  label.description = absl::StrCat("pulled from ", image_->ref.str());
  if (!type.empty()) label.record_type = type;
  snapshot::SnapshotPtr tree;
  for (std::size_t i = 0; i < layer_count_; ++i) {
    snapshot::Layer layer;
    layer.blob = image_->manifest.layers[i];
    layer.diff_id = image_->config.diff_ids[i];
    if (origin_->lasting()) layer.sources = {image_->ref.name()};
    ASSIGN_OR_RETURN(tree, environment_->parts.snapshots->FromLayer(tree, layer, label));
  }
  return tree;
}

}  // namespace cachalot::op
