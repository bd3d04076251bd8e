// Walks over build graphs of any depth. Internal to this room.
#pragma once

#include <vector>

#include "llb/op.h"

namespace cachalot::llb {

// The vertices of the graph that ends in `top`: inputs before those who use them, each digest once, in the order in which a
// depth-first walk leaves them.
std::vector<VertexPtr> InDependencyOrder(const VertexPtr& top);

}  // namespace cachalot::llb
