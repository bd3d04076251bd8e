// The sources of a build graph, for those who judge and replace them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "llb/op.h"

namespace cachalot::llb {

// The vertices beneath `edge` that are sources, each once.
std::vector<VertexPtr> SourcesOf(const Edge& edge);

// The graph beneath `edge` with the operations of some sources (by their digests) replaced. Whatever depends on a replaced one
// gets a new digest; the rest is shared with the old graph.
Edge ReplaceSources(const Edge& edge, const std::map<oci::Digest, SourceOp>& replacements);

}  // namespace cachalot::llb
