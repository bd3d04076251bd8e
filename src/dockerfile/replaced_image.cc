#include "dockerfile/replaced_image.h"

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "base/status_macros.h"
#include "dockerfile/compile/named_context.h"

namespace cachalot::dockerfile {

absl::StatusOr<std::optional<ReplacedImage>> FindReplacement(llb::FrontendBridge& bridge, const Options& options, const Inputs& inputs,
                                                             const std::string& name) {
  // Mostly there are none: then the build's context need not be looked at.
  const bool any = std::any_of(options.begin(), options.end(), [](const auto& option) { return absl::StartsWith(option.first, "context:"); });
  if (!any) return std::nullopt;
  ImageResolver images(bridge);
  ASSIGN_OR_RETURN(const std::unique_ptr<BuildContext> context, BuildContext::Open(bridge, options, inputs));
  ASSIGN_OR_RETURN(const std::optional<NamedContext> found, NamedContext::Find(*context, images, name, {}));
  if (!found.has_value()) return std::nullopt;
  ASSIGN_OR_RETURN(NamedContext::Loaded loaded, found->Load());
  ReplacedImage replaced;
  ASSIGN_OR_RETURN(replaced.definition, loaded.state.Marshal());
  if (loaded.image.has_value()) replaced.config = *std::move(loaded.image);
  return replaced;
}

}  // namespace cachalot::dockerfile
