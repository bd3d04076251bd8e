// Tokens for Azure Storage from what the daemon's environment offers, for accounts whose key is not given.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancel.h"
#include "base/guarded.h"
#include "registry/http.h"

namespace cachalot::remotecache {

// Asks, as Azure's own libraries do, with the secret of an application (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET), with the
// token of a workload (AZURE_FEDERATED_TOKEN_FILE in place of the secret), or the machine's identity service. Thread-safe.
class AzureToken {
 public:
  // `transport` outlives it.
  explicit AzureToken(registry::HttpTransport* transport) : transport_(transport) {}
  // A token that is good for some minutes at least. The error says what can be set.
  absl::StatusOr<std::string> Get(const CancelToken& cancel);

 private:
  struct Token {
    std::string text;
    absl::Time expires = absl::InfinitePast();
  };
  absl::StatusOr<Token> Ask(const CancelToken& cancel);

  registry::HttpTransport* const transport_;
  Guarded<Token> token_;
};

}  // namespace cachalot::remotecache
