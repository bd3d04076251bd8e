// The environment variables of processes in containers.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/cancel.h"
#include "llb/op.h"
#include "op/environment.h"

namespace cachalot::op {

inline constexpr char kDefaultPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Adds NAME=value unless the name is there already.
void AddDefaultVariable(absl::string_view name, absl::string_view value, std::vector<std::string>& env);

// NAME=value for each secret, asked of the build's client. An optional one that the client does not have is empty.
absl::StatusOr<std::vector<std::string>> SecretVariables(const Environment& environment, const std::vector<llb::SecretEnv>& secrets,
                                                         const CancelToken& cancel);

}  // namespace cachalot::op
