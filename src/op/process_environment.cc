#include "op/process_environment.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace cachalot::op {

void AddDefaultVariable(absl::string_view name, absl::string_view value, std::vector<std::string>& env) {
  const std::string prefix = absl::StrCat(name, "=");
  const bool there = std::any_of(env.begin(), env.end(), [&](const std::string& entry) { return absl::StartsWith(entry, prefix); });
  if (!there) env.push_back(absl::StrCat(prefix, value));
}

absl::StatusOr<std::vector<std::string>> SecretVariables(const Environment& environment, const std::vector<llb::SecretEnv>& secrets,
                                                         const CancelToken& cancel) {
  std::vector<std::string> variables;
  for (const llb::SecretEnv& secret : secrets) {
    if (secret.id.empty()) return absl::InvalidArgumentError(absl::StrCat("secret ID missing for \"", secret.name, "\" environment variable"));
    ASSIGN_OR_RETURN(const session::SessionPtr session, SessionFor(environment, "", cancel));
    absl::StatusOr<std::string> value = session->Secret(secret.id, cancel);
    if (!value.ok() && !(secret.optional && absl::IsNotFound(value.status()))) return OfTheClient(value.status());
    if (value.ok() && value->find('\0') != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("secret ", secret.id, " holds a zero byte, which the variable ", secret.name, " cannot"));
    }
    variables.push_back(absl::StrCat(secret.name, "=", value.ok() ? *value : ""));
  }
  return variables;
}

}  // namespace cachalot::op
