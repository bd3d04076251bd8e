// Feeds cache configs to the parser. What it takes must be fit for matching, and survive being written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "absl/strings/string_view.h"
#include "remotecache/cache_config.h"
#include "remotecache/key_matcher.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using cachalot::remotecache::CacheConfig;
  auto config = cachalot::remotecache::ParseCacheConfig(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!config.ok()) return 0;
  auto again = cachalot::remotecache::ParseCacheConfig(Serialize(*config));
  if (!again.ok() || Serialize(*again) != Serialize(*config)) std::abort();
  for (std::size_t i = 0; i < config->layers.size(); ++i) {
    if (ChainOf(*config, static_cast<int>(i)).empty()) std::abort();
  }
  cachalot::remotecache::KeyMatcher matcher(*std::move(config));
  const auto source = cachalot::solver::NewCacheKey("source", {}, {}, false);
  const auto step = cachalot::solver::NewCacheKey("step", {}, {{source, 0, "", true, ""}}, false);
  (void)matcher.Find(step, 0);
  (void)matcher.ContentsOf(step, {0});
  return 0;
}
