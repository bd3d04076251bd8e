// The attestations that come with an image (an index entry per image, annotated by BuildKit's convention).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "llb/frontend.h"
#include "op/image_origin.h"
#include "op/image_resolver.h"

namespace cachalot::op {

// The index, the manifest that attests to the image of `platform`, and those of its statements whose predicate type is one of
// `predicate_types`. Nothing for an image that is no OCI index.
absl::StatusOr<std::optional<llb::AttestationChain>> FindAttestationChain(ImageResolver& images, const OriginAndReference& image,
                                                                          const oci::Platform& platform,
                                                                          const std::vector<std::string>& predicate_types, const CancelToken& cancel);

}  // namespace cachalot::op
