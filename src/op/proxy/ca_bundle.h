// The bundle of trusted certificates in a container's root file system, with one of ours added for a while.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace cachalot::op {

// Adds a certificate to the first bundle found where Linux distributions have theirs; Remove() takes it out again, whatever has become
// of the bundle meanwhile. The text marks around it are BuildKit's.
class AddedCertificate {
 public:
  // `rootfs` is the mounted tree. Without any bundle nothing is done.
  static absl::StatusOr<AddedCertificate> Add(const std::string& rootfs, const std::string& pem);
  // Leaves the file as it was when nobody else has changed it, its times included.
  absl::Status Remove();

 private:
  std::string rootfs_, path_;  // path_ is inside rootfs_, empty when nothing was added
  std::string block_;          // what was added
  std::string before_;
  struct stat status_ = {};
};

}  // namespace cachalot::op
