// What clients may ask about a Dockerfile instead of building it ("requestid" option).
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "dockerfile/compile/compiler.h"
#include "llb/frontend.h"

namespace cachalot::dockerfile {

struct SubrequestContext {
  BuildContext* context = nullptr;
  ImageResolver* images = nullptr;
  const Config* config = nullptr;
  LintSink warn;  // takes the findings of requests that compile but do not list findings themselves
  std::shared_ptr<const llb::SourceInfo> source;
};

// Answers "frontend.outline", "frontend.targets", "frontend.lint", "frontend.convertllb" and "frontend.subrequests.describe" in the
// result's metadata ("result.json", "version" and, but for the graph, "result.txt"). They are about the Dockerfile: the platforms that a
// build would be for do not count. UNIMPLEMENTED for other requests.
absl::StatusOr<llb::FrontendResult> HandleSubrequest(const std::string& request, const SubrequestContext& context);

}  // namespace cachalot::dockerfile
