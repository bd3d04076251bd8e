// Details of failed operations, as payloads of their Status.
#pragma once

#include <optional>

#include "absl/status/status.h"

namespace cachalot::op {

// The exit code of a build step's process, and the index of the failed action of a file operation; both decimal text.
inline constexpr char kExitCodePayload[] = "cachalot/exit-code";
inline constexpr char kFileActionPayload[] = "cachalot/file-action";

void SetNumber(absl::Status& status, const char* payload, int value);
std::optional<int> GetNumber(const absl::Status& status, const char* payload);

}  // namespace cachalot::op
