#include "codec/sha256.h"

#include <openssl/evp.h>

#include <cstdlib>

#include "absl/strings/escaping.h"
#include "base/status_macros.h"

namespace cachalot::codec {

namespace {

// Fetched once: OpenSSL 3 takes microseconds for each implicit fetch.
const EVP_MD* Algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return algorithm;
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (EVP_DigestInit_ex(context_.get(), Algorithm(), nullptr) != 1) std::abort();
}

Sha256::~Sha256() = default;

void Sha256::Update(absl::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }

std::string Sha256::FinishBytes() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context_.get(), bytes, &size);
  EVP_DigestInit_ex(context_.get(), Algorithm(), nullptr);
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

std::string Sha256::FinishHex() { return absl::BytesToHexString(FinishBytes()); }

absl::Status DigestingSink::Write(absl::string_view bytes) {
  hash_.Update(bytes);
  size_ += static_cast<std::int64_t>(bytes.size());
  return next_ == nullptr ? absl::OkStatus() : next_->Write(bytes);
}

absl::StatusOr<std::size_t> DigestingSource::Read(char* buffer, std::size_t size) {
  ASSIGN_OR_RETURN(const std::size_t n, from_->Read(buffer, size));
  hash_.Update(absl::string_view(buffer, n));
  size_ += static_cast<std::int64_t>(n);
  return n;
}

}  // namespace cachalot::codec
