// Nodes to typed instructions.
#pragma once

#include <variant>

#include "absl/status/statusor.h"
#include "dockerfile/instructions/instruction.h"
#include "dockerfile/lint/linter.h"
#include "dockerfile/parse/parser.h"

namespace cachalot::dockerfile {

// Reads a whole file. Errors read "dockerfile parse error on line N: ..." and carry their lines.
absl::StatusOr<Program> ReadProgram(const File& file, const Linter& linter);

// Reads one instruction that is not FROM, such as an ONBUILD trigger.
absl::StatusOr<Instruction> ReadInstruction(const Node& node, const Linter& linter);

// Expands the variables of an instruction in place, where its kind has any. `raw_expander` is for file contents, in which
// quotes mean nothing. ARG, EXPOSE and the command of RUN are left alone: their values are expanded where they are used.
absl::Status ExpandInstruction(const WordExpander& expander, const WordExpander& raw_expander, InstructionBody* body);

}  // namespace cachalot::dockerfile
