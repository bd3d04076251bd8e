#include "op/proxy/authority.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace cachalot::op {
namespace {

constexpr int kKeyBits = 2048;
// A proxy lives as long as its step, the authority as long as the daemon.
constexpr long kRootLifetime = 10L * 365 * 24 * 3600, kHostLifetime = 365L * 24 * 3600, kClockSkew = 3600;
constexpr std::size_t kMaxContexts = 1024;

absl::Status Failed(absl::string_view what) {
  char text[256];
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  return absl::InternalError(absl::StrCat(what, ": ", text));
}

bool AddExtension(X509* certificate, X509* issuer, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str());
  if (extension == nullptr) return false;
  const bool added = X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

bool IsAddress(const std::string& host) {
  unsigned char address[sizeof(struct in6_addr)];
  return ::inet_pton(AF_INET, host.c_str(), address) == 1 || ::inet_pton(AF_INET6, host.c_str(), address) == 1;
}

// Everything but subject, extensions and signature.
bool Begin(X509* certificate, EVP_PKEY* key, long lifetime) {
  std::uint64_t serial = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) != 1) return false;
  return X509_set_version(certificate, 2) == 1 && ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) == 1 &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), -kClockSkew) != nullptr &&
         X509_gmtime_adj(X509_getm_notAfter(certificate), lifetime) != nullptr && X509_set_pubkey(certificate, key) == 1;
}

bool SetName(X509_NAME* name, const std::string& text) {
  return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.c_str()), -1, -1, 0) == 1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProxyAuthority>> ProxyAuthority::Create() {
  Key key(EVP_RSA_gen(kKeyBits), EVP_PKEY_free), host_key(EVP_RSA_gen(kKeyBits), EVP_PKEY_free);
  Certificate root(X509_new(), X509_free);
  if (key == nullptr || host_key == nullptr || root == nullptr) return Failed("keys of the proxy's authority");
  X509_NAME* name = X509_get_subject_name(root.get());
  const bool made = Begin(root.get(), key.get(), kRootLifetime) && SetName(name, "Cachalot exec proxy") &&
                    X509_set_issuer_name(root.get(), name) == 1 && AddExtension(root.get(), root.get(), NID_basic_constraints, "critical,CA:TRUE") &&
                    AddExtension(root.get(), root.get(), NID_key_usage, "critical,keyCertSign,digitalSignature") &&
                    X509_sign(root.get(), key.get(), EVP_sha256()) > 0;
  if (!made) return Failed("certificate of the proxy's authority");
  const std::unique_ptr<BIO, int (*)(BIO*)> pem(BIO_new(BIO_s_mem()), BIO_free);
  char* data = nullptr;
  if (pem == nullptr || PEM_write_bio_X509(pem.get(), root.get()) != 1) return Failed("certificate of the proxy's authority");
  const long size = BIO_get_mem_data(pem.get(), &data);
  std::unique_ptr<ProxyAuthority> authority(new ProxyAuthority(std::move(key), std::move(host_key), std::move(root)));
  authority->certificate_.assign(data, static_cast<std::size_t>(size));
  return authority;
}

absl::StatusOr<ProxyAuthority::Certificate> ProxyAuthority::Issue(const std::string& host) const {
  Certificate certificate(X509_new(), X509_free);
  if (certificate == nullptr) return Failed("certificate");
  // A name is bounded; what is compared is the alternative name.
  const bool made =
      Begin(certificate.get(), host_key_.get(), kHostLifetime) && SetName(X509_get_subject_name(certificate.get()), host.substr(0, ub_common_name)) &&
      X509_set_issuer_name(certificate.get(), X509_get_subject_name(root_.get())) == 1 &&
      AddExtension(certificate.get(), root_.get(), NID_subject_alt_name, absl::StrCat(IsAddress(host) ? "IP:" : "DNS:", host)) &&
      AddExtension(certificate.get(), root_.get(), NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
      AddExtension(certificate.get(), root_.get(), NID_ext_key_usage, "serverAuth") && X509_sign(certificate.get(), key_.get(), EVP_sha256()) > 0;
  if (!made) return Failed(absl::StrCat("certificate for ", host));
  return certificate;
}

absl::StatusOr<std::shared_ptr<SSL_CTX>> ProxyAuthority::ContextFor(const std::string& host) {
  // It becomes part of a configuration text: nothing but a host may come in.
  if (host.empty() || host.find_first_of(", \n\r;@\"") != std::string::npos) return absl::InvalidArgumentError("invalid host name");
  std::lock_guard lock(mutex_);
  if (const auto known = contexts_.find(host); known != contexts_.end()) return known->second;
  ASSIGN_OR_RETURN(const Certificate certificate, Issue(host));
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (context == nullptr || SSL_CTX_use_certificate(context.get(), certificate.get()) != 1 ||
      SSL_CTX_use_PrivateKey(context.get(), host_key_.get()) != 1) {
    return Failed(absl::StrCat("TLS for ", host));
  }
  if (contexts_.size() >= kMaxContexts) contexts_.clear();
  contexts_[host] = context;
  return context;
}

}  // namespace cachalot::op
