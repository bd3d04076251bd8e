#include "remotecache/inline_cache.h"

#include <algorithm>
#include <optional>

namespace cachalot::remotecache {
namespace {

// Where the layers of a chain lie in the image; nothing when one does not.
std::optional<std::vector<int>> PlacesIn(const std::vector<oci::Digest>& image, const std::vector<oci::Digest>& chain) {
  std::vector<int> places;
  // An image may have the same layer twice: the same place is the better guess.
  const bool prefix = chain.size() <= image.size() && std::equal(chain.begin(), chain.end(), image.begin());
  for (std::size_t i = 0; i < chain.size(); ++i) {
    const auto found = prefix ? image.begin() + static_cast<std::ptrdiff_t>(i) : std::find(image.begin(), image.end(), chain[i]);
    if (found == image.end()) return std::nullopt;
    places.push_back(static_cast<int>(found - image.begin()));
  }
  return places;
}

bool IsPrefix(const std::vector<int>& places) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (places[i] != static_cast<int>(i)) return false;
  }
  return true;
}

}  // namespace

std::string InlineRecords(const CollectedCache& cache, const std::vector<oci::Digest>& diff_ids) {
  std::vector<Record> records = cache.config.records;
  bool any = false;
  for (Record& record : records) {
    std::vector<RecordResult> results;
    for (const RecordResult& result : record.results) {
      std::vector<oci::Digest> chain;
      for (const int layer : ChainOf(cache.config, result.layer)) chain.push_back(cache.layers.at(cache.config.layers[layer].blob).diff_id);
      const std::optional<std::vector<int>> places = PlacesIn(diff_ids, chain);
      if (!places.has_value()) continue;
      any = true;
      if (IsPrefix(*places)) {
        results.push_back({places->back(), result.created_at});
      } else {
        record.chains.push_back({*places, result.created_at});
      }
    }
    record.results = std::move(results);
  }
  return any ? SerializeRecords(records) : "";
}

}  // namespace cachalot::remotecache
