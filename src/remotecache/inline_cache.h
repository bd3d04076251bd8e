// The inline cache: records in an image's configuration, over the image's own layers.
#pragma once

#include <string>
#include <vector>

#include "oci/digest.h"
#include "remotecache/cache_exporter.h"

namespace cachalot::remotecache {

// The records of `cache` as JSON for an image with layers of these diff ids. Results that need other layers are left out; empty
// when none is left. Layers are told by their diff ids: how an image compresses its layers does not matter.
std::string InlineRecords(const CollectedCache& cache, const std::vector<oci::Digest>& diff_ids);

}  // namespace cachalot::remotecache
