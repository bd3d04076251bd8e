#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "session/session.h"

namespace cachalot::session {

absl::StatusOr<SessionMetadata> SessionMetadata::Parse(const std::multimap<std::string, std::string>& headers) {
  SessionMetadata metadata;
  for (const auto& [name, value] : headers) {
    const std::string key = absl::AsciiStrToLower(name);
    std::int64_t milliseconds = 0;
    if (key == "x-docker-expose-session-uuid") {
      metadata.id = value;
    } else if (key == "x-docker-expose-session-name") {
      metadata.name = value;
    } else if (key == "x-docker-expose-session-sharedkey") {
      metadata.shared_key = value;
    } else if (key == "x-docker-expose-session-grpc-method") {
      metadata.methods.push_back(value);
    } else if (key == "x-buildkit-session-health-custom-timeout" && absl::SimpleAtoi(value, &milliseconds) && milliseconds > 0) {
      metadata.health_interval = metadata.health_timeout = std::max(absl::Milliseconds(milliseconds), absl::Seconds(1));
      metadata.health_failures = 1;
    }
  }
  if (metadata.id.empty()) {
    return absl::InvalidArgumentError("session without an id: the header x-docker-expose-session-uuid is missing");
  }
  return metadata;
}

}  // namespace cachalot::session
