#include "build/entitlements.h"

#include "absl/strings/str_cat.h"

namespace cachalot::build {
namespace {

constexpr char kNetworkHost[] = "network.host";
constexpr char kSecurityInsecure[] = "security.insecure";
constexpr char kDevice[] = "device";

// "device=name" asks for one device.
absl::StatusOr<std::string> KindOf(const std::string& entitlement) {
  const std::string kind = entitlement.substr(0, entitlement.find('='));
  if (kind == kDevice || ((kind == kNetworkHost || kind == kSecurityInsecure) && kind == entitlement)) return kind;
  return absl::InvalidArgumentError(absl::StrCat("unknown entitlement ", entitlement));
}

}  // namespace

absl::StatusOr<Entitlements> Entitlements::Grant(const std::vector<std::string>& asked, const std::vector<std::string>& offered) {
  std::set<std::string> possible;
  for (const std::string& entitlement : offered) {
    absl::StatusOr<std::string> kind = KindOf(entitlement);
    if (!kind.ok()) return kind.status();
    possible.insert(*kind);
  }
  Entitlements result;
  for (const std::string& entitlement : asked) {
    absl::StatusOr<std::string> kind = KindOf(entitlement);
    if (!kind.ok()) return kind.status();
    if (possible.count(*kind) == 0) {
      return absl::PermissionDeniedError(absl::StrCat("granting entitlement ", *kind, " is not allowed by build daemon configuration"));
    }
    result.granted_.insert(*kind);
  }
  return result;
}

absl::Status Entitlements::Check(const llb::Vertex& vertex) const {
  const auto* exec = std::get_if<llb::ExecOp>(&vertex.op);
  if (exec == nullptr) return absl::OkStatus();
  if (exec->network == llb::NetMode::kHost && granted_.count(kNetworkHost) == 0) {
    return absl::PermissionDeniedError(absl::StrCat(kNetworkHost, " is not allowed"));
  }
  if (exec->security == llb::SecurityMode::kInsecure && granted_.count(kSecurityInsecure) == 0) {
    return absl::PermissionDeniedError(absl::StrCat(kSecurityInsecure, " is not allowed"));
  }
  if (!exec->cdi_devices.empty() && granted_.count(kDevice) == 0) {
    return absl::PermissionDeniedError(absl::StrCat("device ", exec->cdi_devices[0].name, " is requested by the build but not allowed"));
  }
  return absl::OkStatus();
}

}  // namespace cachalot::build
