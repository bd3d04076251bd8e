#include "client/source_policy.h"

#include <google/protobuf/util/json_util.h>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "os/file.h"

namespace cachalot::client {

namespace {

constexpr std::size_t kMaxBytes = 1 << 20;

}  // namespace

absl::StatusOr<moby::buildkit::v1::sourcepolicy::Policy> ReadSourcePolicy(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, os::ReadFile(path, kMaxBytes));
  moby::buildkit::v1::sourcepolicy::Policy policy;
  const auto parsed = google::protobuf::util::JsonStringToMessage(text, &policy);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("source policy ", path, ": ", std::string(parsed.message())));
  }
  return policy;
}

}  // namespace cachalot::client
