#include "client/tls_reason.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <memory>

#include "absl/strings/str_cat.h"

namespace cachalot::client {
namespace {

constexpr timeval kPatience = {3, 0};
constexpr unsigned char kHttp2[] = {2, 'h', '2'};

using ContextPtr = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
using SslPtr = std::unique_ptr<SSL, decltype(&SSL_free)>;
using BioPtr = std::unique_ptr<BIO, decltype(&BIO_free_all)>;

std::string LastReason() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
  return code == 0 || reason == nullptr ? "it closed the connection" : reason;
}

absl::Status FileError(const std::string& path) { return absl::InvalidArgumentError(absl::StrCat("TLS file ", path, ": ", LastReason())); }

absl::StatusOr<ContextPtr> MakeContext(const ConnectOptions& options) {
  ContextPtr context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_alpn_protos(context.get(), kHttp2, sizeof(kHttp2));
  if (options.tls_ca.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else if (SSL_CTX_load_verify_locations(context.get(), options.tls_ca.c_str(), nullptr) != 1) {
    return FileError(options.tls_ca);
  }
  if (!options.tls_cert.empty() && SSL_CTX_use_certificate_chain_file(context.get(), options.tls_cert.c_str()) != 1)
    return FileError(options.tls_cert);
  if (!options.tls_key.empty() && SSL_CTX_use_PrivateKey_file(context.get(), options.tls_key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return FileError(options.tls_key);
  }
  return context;
}

void ExpectName(SSL* ssl, const std::string& name) {
  if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name.c_str()) == 1) return;
  ERR_clear_error();
  SSL_set1_host(ssl, name.c_str());
  SSL_set_tlsext_host_name(ssl, name.c_str());
}

absl::StatusOr<BioPtr> ConnectTcp(const std::string& host_port) {
  BioPtr tcp(BIO_new_connect(host_port.c_str()), BIO_free_all);
  if (BIO_do_connect(tcp.get()) != 1) return absl::UnavailableError(absl::StrCat("no daemon answers at tcp://", host_port, ": ", LastReason()));
  int fd = -1;
  BIO_get_fd(tcp.get(), &fd);
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) setsockopt(fd, SOL_SOCKET, option, &kPatience, sizeof(kPatience));
  return tcp;
}

}  // namespace

absl::Status FindTlsReason(const std::string& host_port, const ConnectOptions& options) {
  ERR_clear_error();
  absl::StatusOr<BioPtr> tcp = ConnectTcp(host_port);
  if (!tcp.ok()) return tcp.status();
  if (options.tls_ca.empty() && options.tls_cert.empty()) {
    return absl::UnavailableError(
        absl::StrCat("what listens at tcp://", host_port, " does not speak gRPC without TLS; with TLS, --tlscacert names the authority to trust"));
  }
  absl::StatusOr<ContextPtr> context = MakeContext(options);
  if (!context.ok()) return context.status();
  const SslPtr ssl(SSL_new(context->get()), SSL_free);
  const std::string name = options.tls_server_name.empty() ? host_port.substr(0, host_port.rfind(':')) : options.tls_server_name;
  ExpectName(ssl.get(), name);
  BIO* bio = tcp->release();
  SSL_set_bio(ssl.get(), bio, bio);
  if (SSL_connect(ssl.get()) != 1) {
    const long verified = SSL_get_verify_result(ssl.get());
    if (verified == X509_V_OK) return absl::UnavailableError(absl::StrCat("TLS with tcp://", host_port, " failed: ", LastReason()));
    return absl::UnauthenticatedError(
        absl::StrCat("the certificate of tcp://", host_port, " (expected for ", name, ") is not trusted: ", X509_verify_cert_error_string(verified)));
  }
  // A server tells what it thinks of the client's certificate after the handshake; one that likes it speaks first.
  char byte = 0;
  if (SSL_read(ssl.get(), &byte, 1) == 1) return absl::OkStatus();
  const char* shown = options.tls_cert.empty() ? "none was given with --tlscert" : options.tls_cert.c_str();
  return absl::UnauthenticatedError(
      absl::StrCat("the daemon at tcp://", host_port, " refuses the client's certificate (", shown, "): ", LastReason()));
}

}  // namespace cachalot::client
