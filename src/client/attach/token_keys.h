// Keys by which a daemon recognises that two sessions hold the same secret for a registry, without seeing it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::client {

class TokenKey {
 public:
  // The ed25519 key for `host`: derived from the daemon's `salt` and, for those who are logged in, from a random seed that is
  // kept in `directory`/.token_seed.
  static absl::StatusOr<TokenKey> Derive(const std::string& directory, const std::string& host, absl::string_view salt, bool logged_in);

  absl::StatusOr<std::string> PublicKey() const;  // 32 bytes
  // The signature (64 bytes) followed by `payload`, as NaCl's crypto_sign has it.
  absl::StatusOr<std::string> Sign(absl::string_view payload) const;

 private:
  explicit TokenKey(std::string seed) : seed_(std::move(seed)) {}
  std::string seed_;  // 32 bytes
};

}  // namespace cachalot::client
