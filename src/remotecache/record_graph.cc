#include "remotecache/record_graph.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"

namespace cachalot::remotecache {
namespace {

// Numbers layers and writes them down in an order that depends on nothing but them.
class LayerTable {
 public:
  // The chain's topmost layer, -1 for an empty one; an index in order of addition.
  int Add(const std::vector<oci::Digest>& blobs) {
    int below = -1;
    for (const oci::Digest& blob : blobs) {
      const auto [found, added] = known_.try_emplace({blob.str(), below}, static_cast<int>(layers_.size()));
      if (added) layers_.push_back({blob, below});
      below = found->second;
    }
    return below;
  }

  // The layers as they are exported, and where each went.
  std::vector<ConfigLayer> Sorted(std::vector<int>& places) const {
    // Chains are compared as wholes: an index says nothing.
    std::vector<std::string> names;
    for (const ConfigLayer& layer : layers_) {
      names.push_back(absl::StrCat(layer.blob.str(), " ", layer.parent < 0 ? "" : Sha256Hex(names[layer.parent])));
    }
    std::vector<int> order(layers_.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int a, int b) { return names[a] < names[b]; });
    places.assign(layers_.size(), 0);
    for (std::size_t i = 0; i < order.size(); ++i) places[order[i]] = static_cast<int>(i);
    std::vector<ConfigLayer> sorted;
    for (const int index : order) sorted.push_back({layers_[index].blob, layers_[index].parent < 0 ? -1 : places[layers_[index].parent]});
    return sorted;
  }

 private:
  std::vector<ConfigLayer> layers_;
  std::map<std::pair<std::string, int>, int> known_;
};

}  // namespace

int RecordGraph::Root(const std::string& digest) {
  const auto [found, added] = roots_.try_emplace(digest, static_cast<int>(nodes_.size()));
  if (added) nodes_.push_back({digest, {}, std::nullopt});
  return found->second;
}

const RecordGraph::Nodes* RecordGraph::Known(const solver::CacheKeyPtr& key, int output) const {
  const auto found = added_.find({key, output});
  return found == added_.end() ? nullptr : &found->second;
}

bool RecordGraph::LeadsTo(int node, int ancestor) const {
  std::vector<int> pending = {node};
  std::vector<bool> seen(nodes_.size());
  while (!pending.empty()) {
    const int next = pending.back();
    pending.pop_back();
    if (next == ancestor) return true;
    if (seen[next]) continue;
    seen[next] = true;
    for (const std::set<Link>& links : nodes_[next].inputs) {
      for (const Link& link : links) pending.push_back(link.from);
    }
  }
  return false;
}

// The inputs' nodes are known.
RecordGraph::Nodes RecordGraph::NodesFor(const solver::CacheKeyPtr& key, int output) {
  if (key->inputs.empty()) {
    if (key->ephemeral) return {};
    Nodes roots = {Root(solver::RecordDigest(key->op_digest, output))};
    for (const std::string& digest : key->other_digests) roots.push_back(Root(solver::RecordDigest(digest, output)));
    return roots;
  }
  std::vector<std::set<Link>> inputs;
  for (const solver::KeyInput& input : key->inputs) {
    std::set<Link>& links = inputs.emplace_back();
    for (const int from : *Known(input.vertex, input.output)) links.insert({from, input.selector});
    if (!input.content.empty()) links.insert({Root(input.content), ""});
    if (links.empty()) return {};
  }
  if (key->ephemeral) return {};
  const auto [found, added] = by_key_.try_emplace(solver::OutputKey(key->id, output), static_cast<int>(nodes_.size()));
  const int node = found->second;
  if (added) {
    nodes_.push_back({solver::RecordDigest(key->op_digest, output), std::move(inputs), std::nullopt});
    places_.push_back({key, output});
    return {node};
  }
  // Another way to what is known already. One that leads through the record itself is none.
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    for (const Link& link : inputs[i]) {
      if (!LeadsTo(link.from, node)) nodes_[node].inputs[i].insert(link);
    }
  }
  return {node};
}

void RecordGraph::Add(const solver::CacheKeyPtr& key, int output) {
  std::vector<std::pair<solver::CacheKeyPtr, int>> pending = {{key, output}};
  while (!pending.empty()) {
    const auto [next, next_output] = pending.back();
    const std::size_t before = pending.size();
    if (Known(next, next_output) == nullptr) {
      for (const solver::KeyInput& input : next->inputs) {
        if (Known(input.vertex, input.output) == nullptr) pending.emplace_back(input.vertex, input.output);
      }
      if (pending.size() > before) continue;
      added_[{next, next_output}] = NodesFor(next, next_output);
    }
    pending.pop_back();
  }
}

void RecordGraph::SetResult(const Place& place, ResultChain chain) {
  const auto found = by_key_.find(solver::OutputKey(place.key->id, place.output));
  if (found != by_key_.end()) nodes_[found->second].result = std::move(chain);
}

// A node's name covers its digest and all that it is linked from: it depends on nothing but the keys.
std::vector<std::string> RecordGraph::Names() const {
  std::vector<std::string> names(nodes_.size());
  std::vector<int> pending(nodes_.size());
  std::iota(pending.rbegin(), pending.rend(), 0);
  while (!pending.empty()) {
    const int node = pending.back();
    const std::size_t before = pending.size();
    std::string text;
    for (const std::set<Link>& links : nodes_[node].inputs) {
      std::set<std::string> parts;
      for (const Link& link : links) {
        if (names[link.from].empty()) pending.push_back(link.from);
        parts.insert(absl::StrCat(names[link.from], link.selector, "\n"));
      }
      for (const std::string& part : parts) text += part;
      text += "\n";
    }
    if (pending.size() > before) continue;
    names[node] = absl::StrCat(nodes_[node].digest, Sha256Hex(text));
    pending.pop_back();
  }
  return names;
}

// What others are linked from, and what is so linked.
std::vector<bool> RecordGraph::Used() const {
  std::vector<bool> used(nodes_.size());
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (!nodes_[i].inputs.empty()) used[i] = true;
    for (const std::set<Link>& links : nodes_[i].inputs) {
      for (const Link& link : links) used[link.from] = true;
    }
  }
  return used;
}

Record RecordGraph::MakeRecord(const Node& node, const std::vector<int>& places) const {
  Record record;
  record.digest = node.digest;
  for (const std::set<Link>& links : node.inputs) {
    std::vector<RecordLink>& input = record.inputs.emplace_back();
    for (const Link& link : links) input.push_back({link.selector, places[link.from]});
    std::sort(input.begin(), input.end(),
              [](const RecordLink& a, const RecordLink& b) { return std::tie(a.record, a.selector) < std::tie(b.record, b.selector); });
  }
  return record;
}

CacheConfig RecordGraph::Build() const {
  const std::vector<std::string> names = Names();
  const std::vector<bool> used = Used();
  std::vector<int> order;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (used[i]) order.push_back(static_cast<int>(i));
  }
  std::sort(order.begin(), order.end(), [&](int a, int b) { return names[a] < names[b]; });
  std::vector<int> places(nodes_.size());
  for (std::size_t i = 0; i < order.size(); ++i) places[order[i]] = static_cast<int>(i);

  LayerTable layers;
  CacheConfig config;
  for (const int index : order) {
    const Node& node = nodes_[index];
    Record& record = config.records.emplace_back(MakeRecord(node, places));
    if (node.result.has_value() && !node.result->blobs.empty()) {
      record.results.push_back({layers.Add(node.result->blobs), node.result->created_at});
    }
  }
  std::vector<int> layer_places;
  config.layers = layers.Sorted(layer_places);
  for (Record& record : config.records) {
    for (RecordResult& result : record.results) result.layer = layer_places[result.layer];
  }
  return config;
}

}  // namespace cachalot::remotecache
