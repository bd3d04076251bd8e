// Build checks over whole stages, and small decisions that several phases share.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "dockerfile/compile/stage_state.h"
#include "dockerfile/lint/linter.h"
#include "dockerfile/shell/expander.h"

namespace cachalot::dockerfile {

// Reserved and duplicate names.
void CheckStageNames(const std::vector<Stage>& stages, const Linter& linter);
// Keywords should be spelled as most of them are.
void CheckCasing(const std::vector<Stage>& stages, const Linter& linter);
// Base names should be valid with the defaults of the arguments.
void CheckDefaultBases(const std::vector<Stage>& stages, const Expander& expander, const Environment& defaults, const Linter& linter);
// FROM should only use arguments that are declared.
void CheckFromArgs(const std::set<std::string>& unmatched, const std::vector<std::string>& declared, Lines lines, const Linter& linter);
// --platform=$TARGETPLATFORM is the default; --platform=<constant> ties a stage to a platform.
void CheckStagePlatform(const Stage& stage, const Expansion& platform, const Environment& args, const Linter& linter);
void CheckBasePlatform(const std::string& base, const oci::Platform& expected, const oci::Platform& actual, Lines lines, const Linter& linter);
// Names such as API_KEY suggest a secret that would stay in the image.
void CheckNoSecret(absl::string_view keyword, absl::string_view key, Lines lines, const Linter& linter);
// Only the last CMD, ENTRYPOINT or HEALTHCHECK counts.
void CheckUsedOnce(const Instruction& instruction, SeenOnce* seen, const Linter& linter);

// Whether `value`, a boolean or a list of stages, turns something on for `stage`.
bool IsEnabledFor(const std::string& stage, const std::string& value);

}  // namespace cachalot::dockerfile
