// Finds the records of an imported cache that stand for keys of ours.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "remotecache/cache_config.h"
#include "solver/cache_key.h"

namespace cachalot::remotecache {

// Thread-safe. Remembers what it found by key: one per build.
class KeyMatcher {
 public:
  explicit KeyMatcher(CacheConfig config);

  const CacheConfig& config() const { return config_; }

  // The indexes of the records that stand for output `output` of the vertex with this key.
  std::vector<int> Find(const solver::CacheKeyPtr& key, int output);
  // What a vertex with this definition key read when the cache was made, one KeyInput::content per input (empty where the cache
  // does not tell); nothing when the cache is of no use for any of `outputs`.
  std::optional<std::vector<std::string>> ContentsOf(const solver::CacheKeyPtr& definition, const std::vector<int>& outputs);
  // Whether a record may stand for one of `outputs` of a vertex with these parts.
  bool AnyFits(const solver::PartialKey& known, const std::vector<int>& outputs);

 private:
  using Records = std::vector<int>;  // sorted
  // Through which input, to an operation of which digest, with which selector.
  struct Step {
    int input = 0;
    std::string digest, selector;
    friend auto operator<=>(const Step&, const Step&) = default;
  };

  const Records* Known(const solver::CacheKey& key, int output) const;
  Records Match(const solver::CacheKey& key, int output);
  Records Join(const std::string& digest, const std::vector<solver::KeyInput>& inputs) const;
  const Records& Roots(const std::string& digest) const;
  void AddTargets(const Records& from, const Step& step, Records& out) const;
  std::string ContentOf(const Record& record, std::size_t input, const Records& by_key) const;

  const CacheConfig config_;
  absl::flat_hash_map<std::string, Records> roots_;  // records without inputs, by digest
  absl::flat_hash_map<std::string, Records> steps_;  // those with inputs
  std::vector<std::map<Step, Records>> targets_;     // by record: where its links lead

  std::mutex mutex_;
  absl::flat_hash_map<std::string, Records> found_;  // by OutputKey
};

}  // namespace cachalot::remotecache
