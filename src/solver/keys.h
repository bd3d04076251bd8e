// Cache keys: hashes over an operation and what its inputs are known by. See solver.h for the scheme.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cachalot::solver {

// How one input enters a key.
struct KeyPart {
  std::string identity;  // the input's output key, or the digest of the content that is read
  std::string selector;  // empty for content parts: the digest already covers what was selected
  bool content = false;
};

// 64 hex digits over the operation and its inputs, in order.
std::string VertexKey(absl::string_view op_digest, const std::vector<KeyPart>& parts);
// The key of one output of a vertex.
std::string OutputKey(absl::string_view vertex_key, int output);

}  // namespace cachalot::solver
