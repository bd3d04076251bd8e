// The build checks by name. Names, descriptions and addresses are what clients show and match on.
#pragma once

#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {

struct LintRule {
  absl::string_view name;
  absl::string_view description;
  absl::string_view url;
  bool experimental = false;
};

extern const LintRule kStageNameCasing;
extern const LintRule kFromAsCasing;
extern const LintRule kNoEmptyContinuation;
extern const LintRule kConsistentInstructionCasing;
extern const LintRule kDuplicateStageName;
extern const LintRule kReservedStageName;
extern const LintRule kJsonArgsRecommended;
extern const LintRule kMaintainerDeprecated;
extern const LintRule kUndefinedArgInFrom;
extern const LintRule kWorkdirRelativePath;
extern const LintRule kUndefinedVar;
extern const LintRule kMultipleInstructionsDisallowed;
extern const LintRule kLegacyKeyValueFormat;
extern const LintRule kInvalidBaseImagePlatform;
extern const LintRule kRedundantTargetPlatform;
extern const LintRule kSecretsUsedInArgOrEnv;
extern const LintRule kInvalidDefaultArgInFrom;
extern const LintRule kFromPlatformFlagConstDisallowed;
extern const LintRule kCopyIgnoredFile;
extern const LintRule kInvalidDefinitionDescription;
extern const LintRule kExposeProtoCasing;
extern const LintRule kExposeInvalidFormat;

}  // namespace cachalot::dockerfile
