// The certificate authority of the proxies that build steps go out through: it vouches for whatever host a step talks to.
#pragma once

#include <openssl/ssl.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"

namespace cachalot::op {

// Thread-safe.
class ProxyAuthority {
 public:
  // With new keys, which never leave the process.
  static absl::StatusOr<std::unique_ptr<ProxyAuthority>> Create();

  // Its own certificate, PEM.
  const std::string& certificate() const { return certificate_; }
  // The server side of TLS for `host`, a name or an address.
  absl::StatusOr<std::shared_ptr<SSL_CTX>> ContextFor(const std::string& host);

 private:
  using Key = std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)>;
  using Certificate = std::unique_ptr<X509, void (*)(X509*)>;
  ProxyAuthority(Key key, Key host_key, Certificate root) : key_(std::move(key)), host_key_(std::move(host_key)), root_(std::move(root)) {}
  absl::StatusOr<Certificate> Issue(const std::string& host) const;

  const Key key_, host_key_;  // one key serves all hosts: making one takes a tenth of a second
  const Certificate root_;
  std::string certificate_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<SSL_CTX>> contexts_;
};

}  // namespace cachalot::op
