// Detached OpenPGP signatures, verified by the program gpgv.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/cancel.h"

namespace cachalot::op {

struct OpenPgpRequest {
  std::string file;         // the signed file
  std::string signature;    // armored
  std::string public_keys;  // armored, perhaps several blocks
  std::string work_dir;     // an existing directory for the program's files
  bool reject_expired = false;
};
// OK when one of the keys made the signature, with a hash function that is still trusted.
absl::Status VerifyOpenPgp(const OpenPgpRequest& request, const CancelToken& cancel);

// The bytes within the ASCII armor (RFC 4880, section 6) of all blocks of `text`, one after the other.
absl::StatusOr<std::string> Dearmor(absl::string_view text);

// What gpgv's status lines (--status-fd) say of a signature.
absl::Status JudgeGpgvStatus(absl::string_view status, bool reject_expired);

}  // namespace cachalot::op
