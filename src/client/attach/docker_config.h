// Registry credentials as the docker command keeps them: config.json and its credential programs.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "base/cancel.h"

namespace cachalot::client {

struct RegistryLogin {
  std::string username, password;
  std::string identity_token;  // a refresh token, instead of both
  std::string registry_token;  // a bearer token to use as it is
};

// The directory that holds config.json: `configured`, else $DOCKER_CONFIG, else ~/.docker.
std::string DockerConfigDirectory(const std::string& configured);

// The login for `host` as the daemon names it; empty when there is none. Runs docker-credential-<name> where configured.
absl::StatusOr<RegistryLogin> FindLogin(const std::string& directory, const std::string& host, const CancelToken& cancel = {});

}  // namespace cachalot::client
