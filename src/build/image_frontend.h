// Frontends that come as images ("gateway.v0"): programs that speak the gateway API over their standard streams.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "build/build_core.h"
#include "build/provenance/request_trace.h"
#include "llb/frontend.h"

namespace cachalot::build {

// Runs the image that the option "source" names, for `request`. What the program asks for goes to `trace`, which may be null. Its
// result, or the error that it returns, or that it ended without either.
absl::StatusOr<llb::FrontendResult> RunImageFrontend(std::shared_ptr<BuildCore> core, std::shared_ptr<RequestTrace> trace,
                                                     const llb::SolveRequest& request, const CancelToken& cancel);

// The environment that a frontend finds: `image_env`, then BuildKit's variables, with the options numbered as they come.
std::vector<std::string> FrontendVariables(std::vector<std::string> image_env, const std::map<std::string, std::string>& options,
                                           const std::string& session, const WorkerInfo& worker);

// UNIMPLEMENTED, with the detail that clients look for, unless the image's label lists everything that the request needs.
absl::Status CheckImageCaps(const std::map<std::string, std::string>& labels, const llb::SolveRequest& request);

}  // namespace cachalot::build
