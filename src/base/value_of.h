// What a map holds under a key, for callers to whom "absent" and "empty" are the same.
#pragma once

namespace cachalot {

// A copy of the value of `key`; without one an empty string, a null pointer or whatever else a value starts as.
template <typename Map, typename Key>
typename Map::mapped_type ValueOf(const Map& map, const Key& key) {
  const auto found = map.find(key);
  return found == map.end() ? typename Map::mapped_type() : found->second;
}

}  // namespace cachalot
