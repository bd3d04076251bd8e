#include "llb/sources.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "llb/walk.h"
#include "llb/wire.h"

namespace cachalot::llb {

std::vector<VertexPtr> SourcesOf(const Edge& edge) {
  std::vector<VertexPtr> sources;
  for (VertexPtr& vertex : InDependencyOrder(edge.vertex)) {
    if (std::holds_alternative<SourceOp>(vertex->op)) sources.push_back(std::move(vertex));
  }
  return sources;
}

Edge ReplaceSources(const Edge& edge, const std::map<oci::Digest, SourceOp>& replacements) {
  absl::flat_hash_map<std::string, VertexPtr> changed;  // by the old digest
  const auto has_changed = [&](const Edge& input) { return changed.contains(input.vertex->digest.str()); };
  for (const VertexPtr& vertex : InDependencyOrder(edge.vertex)) {
    const auto replacement = replacements.find(vertex->digest);
    if (replacement == replacements.end() && std::none_of(vertex->inputs.begin(), vertex->inputs.end(), has_changed)) continue;
    auto copy = std::make_shared<Vertex>(*vertex);
    if (replacement != replacements.end()) copy->op = replacement->second;
    for (Edge& input : copy->inputs) {
      if (has_changed(input)) input.vertex = changed.at(input.vertex->digest.str());
    }
    copy->op_bytes = EncodeOp(*copy);
    copy->digest = oci::Digest::Of(copy->op_bytes);
    changed[vertex->digest.str()] = std::move(copy);
  }
  return edge.vertex != nullptr && has_changed(edge) ? Edge{changed.at(edge.vertex->digest.str()), edge.output} : edge;
}

}  // namespace cachalot::llb
