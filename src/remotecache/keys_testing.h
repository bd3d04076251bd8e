// Keys for tests, as the solver makes them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "solver/cache_key.h"

namespace cachalot::remotecache {

inline solver::CacheKeyPtr SourceKey(const std::string& digest, std::vector<std::string> others = {}) {
  return solver::NewCacheKey(digest, std::move(others), {}, false);
}
inline solver::CacheKeyPtr LocalKey(const std::string& digest) { return solver::NewCacheKey(digest, {}, {}, true); }
inline solver::CacheKeyPtr StepKey(const std::string& digest, std::vector<solver::KeyInput> inputs) {
  return solver::NewCacheKey(digest, {}, std::move(inputs), false);
}
inline solver::KeyInput From(solver::CacheKeyPtr key, int output = 0) { return {std::move(key), output, "", false, ""}; }
// An input by content; `content` is the digest of what is read, empty when nobody knows it.
inline solver::KeyInput Reading(solver::CacheKeyPtr key, const std::string& selector, const std::string& content) {
  return {std::move(key), 0, selector, true, content.empty() ? "" : solver::RecordDigest(content, -1)};
}

}  // namespace cachalot::remotecache
