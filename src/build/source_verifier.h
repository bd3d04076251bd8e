// Who else decides about the sources of a build: its client, asked over its session.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "llb/frontend.h"

namespace cachalot::build {

// Thread-safe.
class SourceVerifier {
 public:
  virtual ~SourceVerifier() = default;
  // Whether `source` may be used. False: `source` was rewritten, and is to be judged again. A refusal is an error, with what
  // the client says about it attached (build/errors.h). `metadata` resolves what the client wants to know about the source;
  // `budget` is how many more questions it may be asked, and counts down.
  virtual absl::StatusOr<bool> Check(llb::SourceOp& source, const std::optional<oci::Platform>& platform, llb::FrontendBridge& metadata, int& budget,
                                     const CancelToken& cancel) = 0;
};

}  // namespace cachalot::build
