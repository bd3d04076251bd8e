#include "session/credentials.h"

#include <sys/random.h>

#include <map>

#include "base/guarded.h"
#include "buildkit/auth.pb.h"
#include "session/rpc/call.h"

namespace cachalot::session {
namespace {

namespace wire = moby::filesync::v1;

constexpr absl::Duration kTimeout = absl::Seconds(60);
constexpr std::size_t kKeyBytes = 32;

std::string RandomBytes(std::size_t count) {
  std::string bytes(count, '\0');
  // Up to 256 bytes come at once once the kernel's source is ready.
  while (getrandom(bytes.data(), count, 0) != static_cast<ssize_t>(count)) {
  }
  return bytes;
}

// One per process, so that the clients' keys mean nothing to the next.
const std::string& Salt() {
  static const auto* salt = new std::string(RandomBytes(32));
  return *salt;
}

class FromSession : public registry::Credentials {
 public:
  explicit FromSession(std::shared_ptr<RpcConnection> connection) : connection_(std::move(connection)) {}

  absl::StatusOr<Basic> ForHost(const std::string& host) override {
    wire::CredentialsRequest request;
    request.set_host(host);
    auto response = CallUnary<wire::CredentialsResponse>(*connection_, "/moby.filesync.v1.Auth/Credentials", request, CancelToken(), kTimeout);
    if (absl::IsUnimplemented(response.status())) {
      return Basic{};
    }
    RETURN_IF_ERROR(response.status());
    return Basic{response->username(), response->secret()};
  }

  absl::StatusOr<std::string> FetchToken(const TokenRequest& token) override {
    ASSIGN_OR_RETURN(const bool able, FetchesTokens(token.host));
    if (!able) {
      return absl::UnimplementedError(absl::StrCat("the client does not fetch tokens for ", token.host));
    }
    wire::FetchTokenRequest request;
    request.set_clientid(token.client_id);
    request.set_host(token.host);
    request.set_realm(token.realm);
    request.set_service(token.service);
    request.mutable_scopes()->Add(token.scopes.begin(), token.scopes.end());
    ASSIGN_OR_RETURN(const auto response,
                     CallUnary<wire::FetchTokenResponse>(*connection_, "/moby.filesync.v1.Auth/FetchToken", request, CancelToken(), kTimeout));
    return response.token();
  }

 private:
  // A client that fetches tokens itself has a key per host; one that prefers to hand out its secret has none.
  absl::StatusOr<bool> FetchesTokens(const std::string& host) {
    {
      auto known = fetches_.Lock();
      if (const auto found = known->find(host); found != known->end()) {
        return found->second;
      }
    }
    wire::GetTokenAuthorityRequest request;
    request.set_host(host);
    request.set_salt(Salt());
    const auto response =
        CallUnary<wire::GetTokenAuthorityResponse>(*connection_, "/moby.filesync.v1.Auth/GetTokenAuthority", request, CancelToken(), kTimeout);
    const bool declined = absl::IsUnimplemented(response.status()) || absl::IsUnavailable(response.status());
    if (!declined) {
      RETURN_IF_ERROR(response.status());
      if (response->publickey().size() != kKeyBytes) {
        return absl::InvalidArgumentError(absl::StrCat("invalid pubkey length ", response->publickey().size()));
      }
    }
    (*fetches_.Lock())[host] = !declined;
    return !declined;
  }

  const std::shared_ptr<RpcConnection> connection_;
  Guarded<std::map<std::string, bool>> fetches_;
};

}  // namespace

std::shared_ptr<registry::Credentials> SessionCredentials(std::shared_ptr<RpcConnection> connection) {
  return std::make_shared<FromSession>(std::move(connection));
}

}  // namespace cachalot::session
