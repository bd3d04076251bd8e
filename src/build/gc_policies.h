// What garbage collection deletes.
#pragma once

#include <string>
#include <vector>

#include "snapshot/snapshots.h"

namespace cachalot::build {

// The policies that apply when none are configured, from the size of the disk that holds `root`.
std::vector<snapshot::PrunePolicy> DefaultPolicies(const std::string& root);

// Applies the policies in their order; what fails is logged.
void CollectGarbage(snapshot::Snapshots& snapshots, const std::vector<snapshot::PrunePolicy>& policies);

}  // namespace cachalot::build
