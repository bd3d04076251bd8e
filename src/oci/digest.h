// Content digests: "sha256:<64 hex digits>" (OCI image specification, descriptor.md).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::oci {

// A validated digest, or none. Cheap to move, ordered and hashable by its text.
class Digest {
 public:
  Digest() = default;  // none
  // Accepts sha256, sha384 and sha512 with the right number of lower-case hex digits.
  static absl::StatusOr<Digest> Parse(absl::string_view text);
  // The sha256 of `bytes`.
  static Digest Of(absl::string_view bytes);
  // From 64 lower-case hex digits that the caller computed.
  static Digest FromSha256Hex(absl::string_view hex);

  bool empty() const { return text_.empty(); }
  const std::string& str() const { return text_; }
  absl::string_view algorithm() const;
  absl::string_view hex() const;

  friend bool operator==(const Digest&, const Digest&) = default;
  friend auto operator<=>(const Digest&, const Digest&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Digest& digest) {
    return H::combine(std::move(h), digest.text_);
  }

 private:
  explicit Digest(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

}  // namespace cachalot::oci
