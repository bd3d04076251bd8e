// Package URLs (purl-spec) of images: how attestations name them.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "oci/platform.h"

namespace cachalot::oci {

// "pkg:docker/busybox@latest?platform=linux%2Famd64" of an image reference. `type` is "docker" for images of registries and
// "oci" for those of layouts. `qualifiers` follow those that the reference gives.
absl::StatusOr<std::string> PackageUrl(absl::string_view type, absl::string_view ref, const std::optional<Platform>& platform,
                                       const std::vector<std::pair<std::string, std::string>>& qualifiers = {});

}  // namespace cachalot::oci
