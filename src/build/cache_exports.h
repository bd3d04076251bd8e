// The cache exports of one build.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "build/build_core.h"
#include "build/engine.h"
#include "export/exporter.h"
#include "llb/frontend.h"
#include "op/environment.h"
#include "remotecache/cache_exporter.h"

namespace cachalot::build {

// Checks them before the build starts.
absl::Status CheckCacheExports(const std::vector<ExportRequest>& requests);

// Runs every export but inline ones, each shown as a vertex. `outputs` are what the build made. Returns the response's members. An
// export that fails fails the build, unless it says that its errors do not matter.
absl::StatusOr<std::map<std::string, std::string>> RunCacheExports(const std::vector<ExportRequest>& requests,
                                                                   const std::vector<remotecache::ExportedOutput>& outputs, BuildCache& cache,
                                                                   const op::Environment& environment, const CancelToken& cancel);

// Whether images that the build exports carry its cache; then each platform of `source`, made from `result`, is told how to.
bool WantsInlineCache(const std::vector<ExportRequest>& requests);
void AddInlineCaches(const llb::FrontendResult& result, BuildCore& core, exporting::Source& source);

}  // namespace cachalot::build
