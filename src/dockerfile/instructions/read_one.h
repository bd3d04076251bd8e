// One reader per kind of instruction.
#pragma once

#include "absl/status/statusor.h"
#include "dockerfile/instructions/instruction.h"

namespace cachalot::dockerfile {

absl::StatusOr<InstructionBody> ReadAdd(const Node& node);
absl::StatusOr<InstructionBody> ReadArg(const Node& node);
absl::StatusOr<InstructionBody> ReadCmd(const Node& node);
absl::StatusOr<InstructionBody> ReadCopy(const Node& node);
absl::StatusOr<InstructionBody> ReadEntrypoint(const Node& node);
absl::StatusOr<InstructionBody> ReadEnv(const Node& node);
absl::StatusOr<InstructionBody> ReadExpose(const Node& node);
absl::StatusOr<InstructionBody> ReadHealthcheck(const Node& node);
absl::StatusOr<InstructionBody> ReadLabel(const Node& node);
absl::StatusOr<InstructionBody> ReadMaintainer(const Node& node);
absl::StatusOr<InstructionBody> ReadOnbuild(const Node& node);
absl::StatusOr<InstructionBody> ReadRun(const Node& node);
absl::StatusOr<InstructionBody> ReadShell(const Node& node);
absl::StatusOr<InstructionBody> ReadStopsignal(const Node& node);
absl::StatusOr<InstructionBody> ReadUser(const Node& node);
absl::StatusOr<InstructionBody> ReadVolume(const Node& node);
absl::StatusOr<InstructionBody> ReadWorkdir(const Node& node);

// What follows `name ` in the first comment that begins so.
std::string DescriptionOf(absl::string_view name, const std::vector<std::string>& comments);

}  // namespace cachalot::dockerfile
