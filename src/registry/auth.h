// Authorization to registries: challenges, tokens and who may use them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/guarded.h"
#include "registry/client.h"
#include "registry/hosts.h"
#include "registry/http.h"

namespace cachalot::registry {

// One WWW-Authenticate challenge; parameter names are lower case.
struct Challenge {
  std::string scheme;  // "bearer", "basic"
  std::map<std::string, std::string> parameters;
  std::string Parameter(const std::string& name) const;
};
std::vector<Challenge> ParseChallenges(const std::vector<std::string>& headers);

// Merges scopes such as "repository:a:pull" by resource; sorted, actions too.
std::vector<std::string> NormalizeScopes(const std::vector<std::string>& scopes);

// Finds the Authorization header for requests. Tokens are kept per credentials, so that no build gains from another's rights.
// Thread-safe.
class Authorizer {
 public:
  explicit Authorizer(HttpTransport& transport) : transport_(transport) {}

  // The header's value for a request to `host`, or empty while the host has not asked for one.
  absl::StatusOr<std::string> Authorize(const Host& host, const std::vector<std::string>& scopes, const Options& options);
  // Learns from a 401. `used` is the value that was refused. True: authorize and try again. PERMISSION_DENIED: it is hopeless.
  absl::StatusOr<bool> Learn(const Host& host, const HttpResponse& refusal, const std::string& used, const std::vector<std::string>& scopes,
                             const Options& options);

 private:
  // What is known about one host for one credentials object.
  struct Access {
    std::weak_ptr<Credentials> credentials;
    bool anonymous = false;
    struct Token {
      std::string header;
      absl::Time expires;
    };
    struct Known {
      Challenge challenge;
      std::map<std::string, Token> tokens;  // by scopes
      bool fetching = false;                // a token is under way: others want the same one, and wait
    };
    Guarded<Known> known;
  };

  std::shared_ptr<Access> AccessTo(const Host& host, const Options& options);
  // The header of a token for `scopes` (normalized), once nobody else fetches one.
  absl::StatusOr<std::string> TokenFor(const Host& host, const std::vector<std::string>& scopes, Access& access, const Options& options);
  absl::StatusOr<Access::Token> FetchToken(const Host& host, const Challenge& challenge, const std::vector<std::string>& scopes,
                                           const Options& options);
  absl::StatusOr<HttpResponse> SendTokenRequest(const Host& host, const Challenge& challenge, const std::vector<std::string>& scopes,
                                                const Credentials::Basic& basic, bool oauth, const CancelToken& cancel);

  HttpTransport& transport_;
  Guarded<std::map<std::pair<std::string, const Credentials*>, std::shared_ptr<Access>>> access_;
};

}  // namespace cachalot::registry
