// What the daemon's owner adds to the environment in provenance.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace cachalot::build {

// One JSON object from the *.json files of a directory, later files (by name) over earlier ones; empty when there is no directory.
// INVALID_ARGUMENT for a file that is no object, or that has a member which the daemon sets itself.
absl::StatusOr<std::string> LoadCustomEnvironment(const std::string& directory);

}  // namespace cachalot::build
