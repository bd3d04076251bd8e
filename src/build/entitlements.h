// What a build may do beyond the ordinary: the daemon offers, the client asks, operations need.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "llb/op.h"
#include "runtime/cdi.h"

namespace cachalot::build {

class Entitlements {
 public:
  // `asked` by the client, each of which must be `offered` by the daemon's configuration. "device" asks for all devices, "device=name"
  // for those that a request of that name means, "device=name,alias=other" for them when an operation asks for "other".
  static absl::StatusOr<Entitlements> Grant(const std::vector<std::string>& asked, const std::vector<std::string>& offered);
  // Whether the operation needs what was not granted.
  absl::Status Check(const llb::Vertex& vertex) const;
  // `requests` of an operation as requests that are allowed: for each device, unless all are granted. An error names those that are
  // neither granted nor allowed by their own files.
  absl::StatusOr<std::vector<llb::CdiDevice>> AllowDevices(const std::vector<llb::CdiDevice>& requests, const runtime::CdiCatalog& catalog) const;

 private:
  absl::Status AddDevices(absl::string_view text);

  std::set<std::string> granted_;
  bool all_devices_ = false;
  std::set<std::string> devices_;
  std::map<std::string, std::string> device_aliases_;  // to names
};

}  // namespace cachalot::build
