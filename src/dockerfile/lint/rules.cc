#include "dockerfile/lint/rules.h"

namespace cachalot::dockerfile {

const LintRule kStageNameCasing{"StageNameCasing", "Stage names should be lowercase",
                                "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/"};
const LintRule kFromAsCasing{"FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword",
                             "https://docs.docker.com/go/dockerfile/rule/from-as-casing/"};
const LintRule kNoEmptyContinuation{"NoEmptyContinuation", "Empty continuation lines will become errors in a future release",
                                    "https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/"};
const LintRule kConsistentInstructionCasing{"ConsistentInstructionCasing",
                                            "All commands within the Dockerfile should use the same casing (either upper or lower)",
                                            "https://docs.docker.com/go/dockerfile/rule/consistent-instruction-casing/"};
const LintRule kDuplicateStageName{"DuplicateStageName", "Stage names should be unique",
                                   "https://docs.docker.com/go/dockerfile/rule/duplicate-stage-name/"};
const LintRule kReservedStageName{"ReservedStageName", "Reserved words should not be used as stage names",
                                  "https://docs.docker.com/go/dockerfile/rule/reserved-stage-name/"};
const LintRule kJsonArgsRecommended{"JSONArgsRecommended",
                                    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
                                    "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"};
const LintRule kMaintainerDeprecated{"MaintainerDeprecated",
                                     "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
                                     "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/"};
const LintRule kUndefinedArgInFrom{"UndefinedArgInFrom", "FROM command must use declared ARGs",
                                   "https://docs.docker.com/go/dockerfile/rule/undefined-arg-in-from/"};
const LintRule kWorkdirRelativePath{
    "WorkdirRelativePath",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    "https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/"};
const LintRule kUndefinedVar{"UndefinedVar", "Variables should be defined before their use",
                             "https://docs.docker.com/go/dockerfile/rule/undefined-var/"};
const LintRule kMultipleInstructionsDisallowed{"MultipleInstructionsDisallowed",
                                               "Multiple instructions of the same type should not be used in the same stage",
                                               "https://docs.docker.com/go/dockerfile/rule/multiple-instructions-disallowed/"};
const LintRule kLegacyKeyValueFormat{"LegacyKeyValueFormat", "Legacy key/value format with whitespace separator should not be used",
                                     "https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/"};
const LintRule kInvalidBaseImagePlatform{"InvalidBaseImagePlatform", "Base image platform does not match expected target platform", ""};
const LintRule kRedundantTargetPlatform{"RedundantTargetPlatform",
                                        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
                                        "https://docs.docker.com/go/dockerfile/rule/redundant-target-platform/"};
const LintRule kSecretsUsedInArgOrEnv{"SecretsUsedInArgOrEnv", "Sensitive data should not be used in the ARG or ENV commands",
                                      "https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/"};
const LintRule kInvalidDefaultArgInFrom{"InvalidDefaultArgInFrom", "Default value for global ARG results in an empty or invalid base image name",
                                        "https://docs.docker.com/go/dockerfile/rule/invalid-default-arg-in-from/"};
const LintRule kFromPlatformFlagConstDisallowed{"FromPlatformFlagConstDisallowed", "FROM --platform flag should not use a constant value",
                                                "https://docs.docker.com/go/dockerfile/rule/from-platform-flag-const-disallowed/"};
const LintRule kCopyIgnoredFile{"CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore",
                                "https://docs.docker.com/go/dockerfile/rule/copy-ignored-file/"};
const LintRule kInvalidDefinitionDescription{
    "InvalidDefinitionDescription",
    "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description "
    "comment, add an empty line or comment between the instruction and the comment.",
    "https://docs.docker.com/go/dockerfile/rule/invalid-definition-description/", /*experimental=*/true};
const LintRule kExposeProtoCasing{"ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase",
                                  "https://docs.docker.com/go/dockerfile/rule/expose-proto-casing/"};
const LintRule kExposeInvalidFormat{
    "ExposeInvalidFormat", "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    "https://docs.docker.com/go/dockerfile/rule/expose-invalid-format/"};

}  // namespace cachalot::dockerfile
