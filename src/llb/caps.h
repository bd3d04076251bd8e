// The capabilities of BuildKit's protocol that this daemon has, by id. Clients ask for them (Ping), definitions require them.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cachalot::llb {

// Ids of what definitions may use ("source.image", "exec.mount.cache", ...), sorted.
const std::vector<absl::string_view>& LlbCaps();
// Ids of what frontends may call ("solve.base", "readfile", ...), sorted.
const std::vector<absl::string_view>& GatewayCaps();

// INVALID_ARGUMENT "unknown API capability <id>" unless `id` is one of LlbCaps().
absl::Status CheckLlbCap(absl::string_view id);

}  // namespace cachalot::llb
