#include "daemon/translate_policy.h"

#include <utility>

#include "base/status_macros.h"

namespace cachalot::daemon {

namespace {

namespace wire = moby::buildkit::v1::sourcepolicy;

policy::Selector DecodeSelector(const wire::Selector& message) {
  policy::Selector selector{message.identifier(), static_cast<policy::Match>(message.match_type()), {}};
  for (const auto& constraint : message.constraints()) {
    selector.constraints.push_back({constraint.key(), constraint.value(), static_cast<policy::Condition>(constraint.condition())});
  }
  return selector;
}

}  // namespace

absl::StatusOr<policy::Policy> DecodePolicy(const wire::Policy& message) {
  policy::Policy policy{message.version(), {}};
  for (const auto& encoded : message.rules()) {
    if (!encoded.has_selector()) {
      return absl::InvalidArgumentError("invalid nil selector in policy");
    }
    policy::Rule& rule = policy.rules.emplace_back();
    rule.action = static_cast<policy::Action>(encoded.action());
    rule.selector = DecodeSelector(encoded.selector());
    if (encoded.has_updates()) {
      rule.update = policy::Update{encoded.updates().identifier(), {encoded.updates().attrs().begin(), encoded.updates().attrs().end()}};
    }
  }
  return policy;
}

absl::StatusOr<std::vector<policy::Policy>> DecodePolicies(const google::protobuf::RepeatedPtrField<wire::Policy>& messages) {
  std::vector<policy::Policy> policies;
  for (const auto& message : messages) {
    ASSIGN_OR_RETURN(policy::Policy policy, DecodePolicy(message));
    policies.push_back(std::move(policy));
  }
  return policies;
}

}  // namespace cachalot::daemon
