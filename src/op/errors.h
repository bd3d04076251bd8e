// Details of failed operations, as payloads of their Status.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace cachalot::op {

// The exit code of a build step's process, and the index of the failed action of a file operation; both decimal text.
inline constexpr char kExitCodePayload[] = "cachalot/exit-code";
inline constexpr char kFileActionPayload[] = "cachalot/file-action";
// The index of the input whose content could not be digested, decimal text.
inline constexpr char kContentInputPayload[] = "cachalot/content-input";
// Ids in the build's KeptTrees: of the inputs of a failed operation, and of the trees that it worked in. A step has one of each per
// mount, a file operation one per input and one per action.
inline constexpr char kInputTreesPayload[] = "cachalot/input-trees";
inline constexpr char kWorkTreesPayload[] = "cachalot/work-trees";

void SetNumber(absl::Status& status, const char* payload, int value);
std::optional<int> GetNumber(const absl::Status& status, const char* payload);
// Ids may be empty, but hold no comma.
void SetIds(absl::Status& status, const char* payload, const std::vector<std::string>& ids);
std::vector<std::string> GetIds(const absl::Status& status, const char* payload);

}  // namespace cachalot::op
