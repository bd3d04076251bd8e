// Named contexts in the place of images that are no base of a stage.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "dockerfile/compile/build_context.h"
#include "llb/frontend.h"
#include "oci/image.h"

namespace cachalot::dockerfile {

struct ReplacedImage {
  llb::Definition definition;
  oci::ImageConfig config;  // empty when what replaces the image has none
};

// What the client puts in the place of the image `name` ("context:<name>" among the options). Nothing when it does not.
absl::StatusOr<std::optional<ReplacedImage>> FindReplacement(llb::FrontendBridge& bridge, const Options& options, const Inputs& inputs,
                                                             const std::string& name);

}  // namespace cachalot::dockerfile
