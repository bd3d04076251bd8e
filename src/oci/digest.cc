#include "oci/digest.h"

#include <openssl/sha.h>

#include <algorithm>
#include <cstddef>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace cachalot::oci {
namespace {

constexpr absl::string_view kSha256Prefix = "sha256:";

std::size_t HexLength(absl::string_view algorithm) {
  if (algorithm == "sha256") return 64;
  if (algorithm == "sha384") return 96;
  if (algorithm == "sha512") return 128;
  return 0;
}

bool IsLowerHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

absl::StatusOr<Digest> Digest::Parse(absl::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == absl::string_view::npos || colon == 0) {
    return absl::InvalidArgumentError(absl::StrCat("invalid checksum digest format: \"", absl::CEscape(text.substr(0, 200)), "\""));
  }
  const std::size_t length = HexLength(text.substr(0, colon));
  if (length == 0) {
    return absl::InvalidArgumentError(absl::StrCat("unsupported digest algorithm: \"", absl::CEscape(text.substr(0, 200)), "\""));
  }
  const absl::string_view hex = text.substr(colon + 1);
  if (hex.size() != length) {
    return absl::InvalidArgumentError(absl::StrCat("invalid checksum digest length: \"", absl::CEscape(text.substr(0, 200)), "\""));
  }
  if (!IsLowerHex(hex)) {
    return absl::InvalidArgumentError(absl::StrCat("invalid checksum digest format: \"", absl::CEscape(text), "\""));
  }
  return Digest(std::string(text));
}

Digest Digest::Of(absl::string_view bytes) {
  unsigned char sum[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), sum);
  return FromSha256Hex(absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(sum), sizeof sum)));
}

Digest Digest::FromSha256Hex(absl::string_view hex) { return Digest(absl::StrCat(kSha256Prefix, hex)); }

absl::string_view Digest::algorithm() const { return absl::string_view(text_).substr(0, text_.find(':')); }

absl::string_view Digest::hex() const {
  const std::size_t colon = text_.find(':');
  return colon == std::string::npos ? absl::string_view() : absl::string_view(text_).substr(colon + 1);
}

}  // namespace cachalot::oci
