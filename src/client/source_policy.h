// The source policy that a user gives to a build.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "buildkit/policy.pb.h"

namespace cachalot::client {

// Names the file that holds the policy, as with docker buildx.
inline constexpr char kSourcePolicyVariable[] = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";

// Reads a policy (JSON, at most 1 MiB). Errors name the file.
absl::StatusOr<moby::buildkit::v1::sourcepolicy::Policy> ReadSourcePolicy(const std::string& path);

}  // namespace cachalot::client
