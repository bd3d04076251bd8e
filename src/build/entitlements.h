// What a build may do beyond the ordinary: the daemon offers, the client asks, operations need.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "llb/op.h"

namespace cachalot::build {

class Entitlements {
 public:
  // `asked` by the client, each of which must be `offered` by the daemon's configuration.
  static absl::StatusOr<Entitlements> Grant(const std::vector<std::string>& asked, const std::vector<std::string>& offered);
  // Whether the operation needs what was not granted.
  absl::Status Check(const llb::Vertex& vertex) const;

 private:
  std::set<std::string> granted_;
};

}  // namespace cachalot::build
