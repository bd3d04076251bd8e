// One operation before assembly. Internal to the library.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cachalot/llb/state.h"

namespace cachalot::llb {

// Immutable once shared. Derived classes describe the operation; the assembler adds platform, filters and metadata.
class Node {
 public:
  // `inputs` are never scratch.
  Node(std::vector<Output> inputs, Constraints constraints) : inputs_(std::move(inputs)), constraints_(std::move(constraints)) {}
  // Releases inputs one by one, so that a long chain needs no deep stack.
  virtual ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Fills operation and inputs of `vertex`, and clears its platform when the operation is the same everywhere. `inputs` are the
  // assembled inputs(), in order. The capabilities that the operation needs go into the vertex's metadata.
  virtual absl::Status Assemble(const MarshalOptions& options, const std::vector<Edge>& inputs, Vertex& vertex) const = 0;
  // The vertex, for nodes that stand for a loaded one: it is used as it is.
  virtual VertexPtr Loaded() const { return nullptr; }
  // The platform that states on this node's outputs take over.
  virtual std::optional<oci::Platform> OutputPlatform() const { return std::nullopt; }

  const std::vector<Output>& inputs() const { return inputs_; }
  const Constraints& constraints() const { return constraints_; }

 protected:
  Constraints& mutable_constraints() { return constraints_; }

 private:
  std::vector<Output> inputs_;
  Constraints constraints_;
};

// The index of `input` among the vertex's inputs, which are all different; it is added when it is new.
int AddInput(const Edge& input, Vertex& vertex);
void RequireCap(absl::string_view id, Vertex& vertex);

// Assembles the graph beneath `output`: equal operations become one vertex.
absl::StatusOr<Edge> AssembleGraph(const Output& output, const MarshalOptions& options);

}  // namespace cachalot::llb
