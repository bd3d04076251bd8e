#include "dockerfile/report/subrequests.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace cachalot::dockerfile {

absl::StatusOr<llb::FrontendResult> HandleSubrequest(const std::string& request, const SubrequestContext& context) {
  return absl::UnimplementedError(absl::StrCat("unsupported request ", request));
}

}  // namespace cachalot::dockerfile
