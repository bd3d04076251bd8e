// Source policies between their wire form and the policy room's.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "buildkit/policy.pb.h"
#include "policy/policy.h"

namespace cachalot::daemon {

// INVALID_ARGUMENT for a rule without a selector. Unknown numbers of enumerations are kept: they are faults only when used.
absl::StatusOr<policy::Policy> DecodePolicy(const moby::buildkit::v1::sourcepolicy::Policy& message);
absl::StatusOr<std::vector<policy::Policy>> DecodePolicies(
    const google::protobuf::RepeatedPtrField<moby::buildkit::v1::sourcepolicy::Policy>& messages);

}  // namespace cachalot::daemon
