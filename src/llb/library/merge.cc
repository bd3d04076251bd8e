#include "llb/library/node.h"

namespace cachalot::llb {
namespace {

class MergeNode : public Node {
 public:
  using Node::Node;

  absl::Status Assemble(const MarshalOptions&, const std::vector<Edge>& inputs, Vertex& vertex) const override {
    MergeOp op;
    for (std::size_t i = 0; i < inputs.size(); ++i) op.inputs.push_back(static_cast<int>(i));
    vertex.platform.reset();
    vertex.inputs = inputs;
    vertex.op = std::move(op);
    RequireCap("mergeop", vertex);
    return absl::OkStatus();
  }
};

class DiffNode : public Node {
 public:
  // The lower input is there, the upper one may be scratch.
  using Node::Node;

  absl::Status Assemble(const MarshalOptions&, const std::vector<Edge>& inputs, Vertex& vertex) const override {
    vertex.platform.reset();
    vertex.inputs = inputs;
    vertex.op = DiffOp{0, inputs.size() > 1 ? 1 : -1};
    RequireCap("diffop", vertex);
    return absl::OkStatus();
  }
};

}  // namespace

State Merge(const std::vector<State>& inputs, const Constraints& constraints) {
  std::vector<Output> outputs;
  const State* first = nullptr;
  for (const State& input : inputs) {
    if (input.is_scratch()) continue;
    if (first == nullptr) first = &input;
    outputs.push_back(input.output());
  }
  if (first == nullptr) return State();
  if (outputs.size() == 1) return *first;
  return first->WithOutput({std::make_shared<MergeNode>(std::move(outputs), constraints), 0});
}

State Diff(const State& lower, const State& upper, const Constraints& constraints) {
  if (lower.is_scratch()) return upper.is_scratch() ? State() : upper;
  std::vector<Output> outputs = {lower.output()};
  if (!upper.is_scratch()) outputs.push_back(upper.output());
  return lower.WithOutput({std::make_shared<DiffNode>(std::move(outputs), constraints), 0});
}

}  // namespace cachalot::llb
