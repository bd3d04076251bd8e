#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "llb/library/node.h"
#include "llb/wire.h"

namespace cachalot::llb {
namespace {

void MergeMetadata(const OpMetadata& from, OpMetadata& into) {
  into.ignore_cache = into.ignore_cache || from.ignore_cache;
  for (const auto& [key, value] : from.description) into.description[key] = value;
  if (from.export_cache) into.export_cache = from.export_cache;
  for (const auto& [cap, required] : from.caps) into.caps[cap] = true;
  if (from.progress_group) into.progress_group = from.progress_group;
  if (from.linux_resources) into.linux_resources = from.linux_resources;
}

class Assembler {
 public:
  explicit Assembler(const MarshalOptions& options) : options_(options) {
    platform_ = options.defaults.platform ? *options.defaults.platform : oci::HostPlatform();
  }

  absl::StatusOr<Edge> Run(const Output& output);

 private:
  absl::StatusOr<VertexPtr> Build(const Node& node);
  VertexPtr Share(std::shared_ptr<Vertex> vertex);

  const MarshalOptions& options_;
  oci::Platform platform_;
  absl::flat_hash_map<const Node*, VertexPtr> built_;
  absl::flat_hash_map<std::string, std::shared_ptr<Vertex>> by_digest_;
};

// Two operations of equal bytes are one vertex with the metadata and places of both.
VertexPtr Assembler::Share(std::shared_ptr<Vertex> vertex) {
  auto [known, added] = by_digest_.try_emplace(vertex->digest.str(), vertex);
  if (added) return vertex;
  MergeMetadata(vertex->metadata, known->second->metadata);
  std::vector<SourceLocation>& locations = known->second->locations;
  locations.insert(locations.end(), vertex->locations.begin(), vertex->locations.end());
  return known->second;
}

absl::StatusOr<VertexPtr> Assembler::Build(const Node& node) {
  if (VertexPtr loaded = node.Loaded()) return loaded;
  const Constraints& own = node.constraints();
  auto vertex = std::make_shared<Vertex>();
  vertex->platform = own.platform ? *own.platform : platform_;
  vertex->constraints = options_.defaults.worker_filters;
  vertex->constraints.insert(vertex->constraints.end(), own.worker_filters.begin(), own.worker_filters.end());
  vertex->metadata = options_.defaults.metadata;
  MergeMetadata(own.metadata, vertex->metadata);
  vertex->locations = own.locations;
  std::vector<Edge> inputs;
  inputs.reserve(node.inputs().size());
  for (const Output& input : node.inputs()) inputs.push_back({built_.at(input.node.get()), input.index});
  RETURN_IF_ERROR(node.Assemble(options_, inputs, *vertex));
  vertex->op_bytes = EncodeOp(*vertex);
  vertex->digest = oci::Digest::Of(vertex->op_bytes);
  return Share(std::move(vertex));
}

// Depth first without recursion: a generated graph may be one long chain.
absl::StatusOr<Edge> Assembler::Run(const Output& output) {
  if (output.node == nullptr) return Edge{};
  std::vector<std::pair<const Node*, std::size_t>> path = {{output.node.get(), 0}};  // a node and its next input
  while (!path.empty()) {
    auto& [node, next] = path.back();
    if (next < node->inputs().size()) {
      const Node* input = node->inputs()[next++].node.get();
      if (!built_.contains(input)) path.emplace_back(input, 0);
      continue;
    }
    if (!built_.contains(node)) {
      ASSIGN_OR_RETURN(built_[node], Build(*node));
    }
    path.pop_back();
  }
  return Edge{built_.at(output.node.get()), output.index};
}

}  // namespace

Node::~Node() {
  std::vector<Output> released = std::move(inputs_);
  while (!released.empty()) {
    std::shared_ptr<const Node> node = std::move(released.back().node);
    released.pop_back();
    // The last owner takes the inputs away first: nobody else can see the node any more. All nodes are created non-const.
    if (node.use_count() != 1) continue;
    std::vector<Output>& inputs = const_cast<Node&>(*node).inputs_;
    for (Output& input : inputs) released.push_back(std::move(input));
    inputs.clear();
  }
}

int AddInput(const Edge& input, Vertex& vertex) {
  for (std::size_t i = 0; i < vertex.inputs.size(); ++i) {
    const Edge& known = vertex.inputs[i];
    if (known.output == input.output && known.vertex->digest == input.vertex->digest) return static_cast<int>(i);
  }
  vertex.inputs.push_back(input);
  return static_cast<int>(vertex.inputs.size()) - 1;
}

void RequireCap(absl::string_view id, Vertex& vertex) { vertex.metadata.caps[std::string(id)] = true; }

absl::StatusOr<Edge> AssembleGraph(const Output& output, const MarshalOptions& options) { return Assembler(options).Run(output); }

}  // namespace cachalot::llb
