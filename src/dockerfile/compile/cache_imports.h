// The caches that a client asks the Dockerfile frontend to import.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "dockerfile/compile/config.h"
#include "llb/frontend.h"

namespace cachalot::dockerfile {

// Options "cache-imports" (a JSON list of objects with "Type" and "Attrs") and "cache-from" (references, comma separated).
absl::StatusOr<std::vector<llb::CacheImport>> ParseCacheImports(const Options& options);

}  // namespace cachalot::dockerfile
