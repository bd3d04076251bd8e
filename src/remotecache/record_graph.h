// What is exported: keys of ours turned into the records of a cache config.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "oci/digest.h"
#include "remotecache/cache_config.h"
#include "solver/cache_key.h"

namespace cachalot::remotecache {

// The layers of a result, lowest first.
struct ResultChain {
  std::vector<oci::Digest> blobs;
  absl::Time created_at;
};

// Not thread-safe.
class RecordGraph {
 public:
  // Adds records for an output and for everything that its key rests on. Keys that mean something in this build only are left
  // out, with what cannot be found without them.
  void Add(const solver::CacheKeyPtr& key, int output);

  // The outputs that have records of their own and are the result of an operation upon others; each may be given results.
  struct Place {
    solver::CacheKeyPtr key;
    int output = 0;
  };
  const std::vector<Place>& places() const { return places_; }
  void SetResult(const Place& place, ResultChain chain);

  // The same records in the same order whatever the order of adding was.
  CacheConfig Build() const;

 private:
  struct Link {
    int from = 0;
    std::string selector;
    friend auto operator<=>(const Link&, const Link&) = default;
  };
  struct Node {
    std::string digest;
    std::vector<std::set<Link>> inputs;
    std::optional<ResultChain> result;
  };
  using Nodes = std::vector<int>;

  int Root(const std::string& digest);
  const Nodes* Known(const solver::CacheKeyPtr& key, int output) const;
  Nodes NodesFor(const solver::CacheKeyPtr& key, int output);
  bool LeadsTo(int node, int ancestor) const;
  std::vector<std::string> Names() const;
  std::vector<bool> Used() const;
  Record MakeRecord(const Node& node, const std::vector<int>& places) const;

  std::vector<Node> nodes_;
  std::map<std::string, int> roots_;              // by digest
  absl::flat_hash_map<std::string, int> by_key_;  // by OutputKey
  std::map<std::pair<solver::CacheKeyPtr, int>, Nodes> added_;
  std::vector<Place> places_;
};

}  // namespace cachalot::remotecache
