// Destroying deep graphs of shared nodes without deep recursion.
#pragma once

#include <memory>
#include <utility>
#include <vector>

namespace cachalot {

// To be called by the destructor of a graph's node: lets go of `edges` (its own, each with a shared_ptr<const Node> member
// `vertex`), and of everything that only they kept alive, with a loop instead of nested destructors.
template <typename Edge>
void ReleaseGraph(std::vector<Edge> edges) {
  while (!edges.empty()) {
    auto vertex = std::move(edges.back().vertex);
    edges.pop_back();
    if (vertex && vertex.use_count() == 1) {
      // Ours alone: nobody else can see the node lose its edges.
      auto& inputs = const_cast<std::vector<Edge>&>(vertex->inputs);
      edges.insert(edges.end(), std::make_move_iterator(inputs.begin()), std::make_move_iterator(inputs.end()));
      inputs.clear();
    }
  }
}

}  // namespace cachalot
