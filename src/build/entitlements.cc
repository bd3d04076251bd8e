#include "build/entitlements.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

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
    if (*kind == kDevice) RETURN_IF_ERROR(result.AddDevices(absl::string_view(entitlement).substr(std::min(kind->size() + 1, entitlement.size()))));
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
  return absl::OkStatus();
}

absl::Status Entitlements::AddDevices(absl::string_view text) {
  const std::vector<std::string> fields = absl::StrSplit(text, ',');
  if (fields[0].empty()) {
    all_devices_ = true;
    return absl::OkStatus();
  }
  std::string alias;
  for (std::size_t i = 1; i < fields.size(); ++i) {
    const std::pair<std::string, std::string> option = absl::StrSplit(fields[i], absl::MaxSplits('=', 1));
    if (!absl::StrContains(fields[i], '=')) return absl::InvalidArgumentError(absl::StrCat("invalid device config \"", fields[i], "\""));
    if (option.first != "alias") return absl::InvalidArgumentError(absl::StrCat("unknown device config key \"", option.first, "\""));
    alias = option.second;
  }
  if (alias.empty()) {
    devices_.insert(fields[0]);
  } else {
    device_aliases_[alias] = fields[0];
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<llb::CdiDevice>> Entitlements::AllowDevices(const std::vector<llb::CdiDevice>& requests,
                                                                       const runtime::CdiCatalog& catalog) const {
  if (all_devices_) return requests;
  std::set<std::string> granted;
  for (const std::string& name : devices_) {
    ASSIGN_OR_RETURN(const std::vector<std::string> found, catalog.Find(name, true));
    granted.insert(found.begin(), found.end());
  }
  std::vector<llb::CdiDevice> allowed;
  std::vector<std::string> forbidden;
  for (const llb::CdiDevice& request : requests) {
    if (const auto alias = device_aliases_.find(request.name); alias != device_aliases_.end()) {
      allowed.push_back({alias->second, request.optional});
      continue;
    }
    ASSIGN_OR_RETURN(const std::vector<std::string> found, catalog.Find(request.name, request.optional));
    for (const std::string& name : found) {
      if (granted.count(name) > 0 || catalog.AutoAllowed(name)) {
        allowed.push_back({name, false});
      } else {
        forbidden.push_back(name);
      }
    }
  }
  if (forbidden.empty()) return allowed;
  return absl::PermissionDeniedError(absl::StrCat(forbidden.size() == 1 ? "device " : "devices ", absl::StrJoin(forbidden, ", "),
                                                  forbidden.size() == 1 ? " is" : " are", " requested by the build but not allowed"));
}

}  // namespace cachalot::build
