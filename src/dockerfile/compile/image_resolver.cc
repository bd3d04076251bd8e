#include "dockerfile/compile/image_resolver.h"

#include "absl/strings/str_cat.h"
#include "oci/platform.h"

namespace cachalot::dockerfile {

absl::StatusOr<llb::ResolvedImage> ImageResolver::Resolve(const std::string& ref, const llb::ResolveOptions& options) {
  const std::string platform = options.platform.has_value() ? oci::FormatPlatform(*options.platform, /*with_version=*/true) : "";
  const std::string key = absl::StrCat(ref, "\n", platform, "\n", options.resolve_mode, "\n", options.log_name, "\n", options.store_id);
  std::promise<absl::StatusOr<llb::ResolvedImage>> promise;
  Result result;
  bool first = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto [entry, added] = results_.try_emplace(key);
    if (added) entry->second = promise.get_future().share();
    result = entry->second;
    first = added;
  }
  if (first) promise.set_value(bridge_.ResolveImage(ref, options));
  return result.get();
}

}  // namespace cachalot::dockerfile
