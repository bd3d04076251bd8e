#include "llb/walk.h"

#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"

namespace cachalot::llb {

std::vector<VertexPtr> InDependencyOrder(const VertexPtr& top) {
  std::vector<VertexPtr> ordered;
  if (top == nullptr) return ordered;
  absl::flat_hash_set<std::string> seen = {top->digest.str()};
  std::vector<std::pair<VertexPtr, std::size_t>> path = {{top, 0}};  // a vertex and its next input
  while (!path.empty()) {
    auto& [vertex, next] = path.back();
    if (next == vertex->inputs.size()) {
      ordered.push_back(std::move(vertex));
      path.pop_back();
      continue;
    }
    const VertexPtr input = vertex->inputs[next++].vertex;
    if (seen.insert(input->digest.str()).second) path.emplace_back(input, 0);
  }
  return ordered;
}

}  // namespace cachalot::llb
