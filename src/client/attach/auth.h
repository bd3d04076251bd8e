// The client's registry credentials, and bearer tokens fetched with them (moby.filesync.v1.Auth).
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "base/guarded.h"
#include "client/attach/docker_config.h"
#include "registry/http.h"
#include "session/rpc/call.h"

namespace moby::filesync::v1 {
class FetchTokenRequest;
class FetchTokenResponse;
}  // namespace moby::filesync::v1

namespace cachalot::client {

class Auth {
 public:
  // `directory` as in AttachOptions.
  static std::unique_ptr<Auth> Create(const std::string& directory);
  // Serves as long as this lives.
  void AddHandlers(session::RpcHandlers& handlers);

 private:
  explicit Auth(const std::string& directory) : directory_(DockerConfigDirectory(directory)), http_(registry::HttpTransport::Create()) {}
  absl::StatusOr<RegistryLogin> LoginFor(const std::string& host);
  absl::Status FetchToken(const moby::filesync::v1::FetchTokenRequest& request, moby::filesync::v1::FetchTokenResponse* response);

  struct Known {
    RegistryLogin login;
    absl::Time since;
  };
  const std::string directory_;
  const std::unique_ptr<registry::HttpTransport> http_;
  // Held while a credential program runs: some of them do not bear company.
  Guarded<std::map<std::string, Known>> logins_;
};

}  // namespace cachalot::client
