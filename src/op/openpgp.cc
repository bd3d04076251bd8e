#include "op/openpgp.h"

#include <cstdlib>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "os/run.h"

namespace cachalot::op {
namespace {

constexpr absl::string_view kStatusPrefix = "[GNUPG:] ";

// Removes a directory when it goes.
struct Scratch {
  std::string path;
  ~Scratch() { (void)os::RemoveTree(path); }
};

// RFC 4880, section 9: SHA-256, SHA-384, SHA-512; RSA, ECDSA, EdDSA.
bool TrustedHash(absl::string_view algorithm) { return algorithm == "8" || algorithm == "9" || algorithm == "10"; }
bool TrustedKey(absl::string_view algorithm) { return algorithm == "1" || algorithm == "3" || algorithm == "19" || algorithm == "22"; }

}  // namespace

absl::StatusOr<std::string> Dearmor(absl::string_view text) {
  enum class At { kOutside, kHeaders, kBody };
  At at = At::kOutside;
  std::string bytes, base64;
  int blocks = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (absl::StartsWith(line, "-----BEGIN PGP ")) {
      at = At::kHeaders;
      base64.clear();
    } else if (absl::StartsWith(line, "-----END PGP ")) {
      std::string decoded;
      if (at != At::kBody || !absl::Base64Unescape(base64, &decoded)) return absl::InvalidArgumentError("malformed OpenPGP armor");
      bytes += decoded;
      ++blocks;
      at = At::kOutside;
    } else if (at == At::kHeaders && line.empty()) {
      at = At::kBody;
    } else if (at == At::kBody && !absl::StartsWith(line, "=")) {  // that would be the checksum
      absl::StrAppend(&base64, line);
    }
  }
  if (blocks == 0) return absl::InvalidArgumentError("no armored data found");
  return bytes;
}

absl::Status JudgeGpgvStatus(absl::string_view status, bool reject_expired) {
  bool valid = false;
  std::string reason = "no signature found";
  for (absl::string_view line : absl::StrSplit(status, '\n')) {
    if (!absl::StartsWith(line, kStatusPrefix)) continue;
    const std::vector<absl::string_view> fields = absl::StrSplit(line.substr(kStatusPrefix.size()), ' ');
    const std::string key = fields.size() > 1 ? absl::StrCat("signature by ", fields[1]) : "signature";
    if (fields[0] == "VALIDSIG" && fields.size() > 8) {
      // VALIDSIG <fingerprint> <date> <time> <expires> <version> <reserved> <key algorithm> <hash algorithm> ...
      if (!TrustedHash(fields[8])) return absl::FailedPreconditionError(absl::StrCat("rejecting weak/unknown hash: ", fields[8]));
      if (!TrustedKey(fields[7])) return absl::FailedPreconditionError(absl::StrCat("rejecting unsupported pubkey algorithm: ", fields[7]));
      valid = true;
    } else if (fields[0] == "BADSIG") {
      return absl::FailedPreconditionError(absl::StrCat(key, ": invalid signature"));
    } else if (fields[0] == "REVKEYSIG") {
      return absl::FailedPreconditionError(absl::StrCat(key, ": key is revoked"));
    } else if (fields[0] == "EXPKEYSIG" && reject_expired) {
      return absl::FailedPreconditionError(absl::StrCat(key, ": key is expired"));
    } else if (fields[0] == "EXPSIG") {
      return absl::FailedPreconditionError(absl::StrCat(key, ": signature is expired"));
    } else if (fields[0] == "NO_PUBKEY" || fields[0] == "ERRSIG") {
      reason = absl::StrCat(key, ": signature made by unknown entity");
    }
  }
  return valid ? absl::OkStatus() : absl::FailedPreconditionError(reason);
}

absl::Status VerifyOpenPgp(const OpenPgpRequest& request, const CancelToken& cancel) {
  const Scratch scratch{absl::StrCat(request.work_dir, "/openpgp-", RandomId())};
  RETURN_IF_ERROR(os::MakeDirectories(scratch.path, 0700));
  const absl::StatusOr<std::string> keys = Dearmor(request.public_keys);
  if (!keys.ok()) return Annotate(keys.status(), "failed to read armored public key");
  const absl::StatusOr<std::string> signature = Dearmor(request.signature);
  if (!signature.ok()) return Annotate(signature.status(), "failed to decode armored signature");
  const std::string keyring = scratch.path + "/keys.gpg", signature_file = scratch.path + "/signature";
  RETURN_IF_ERROR(os::WriteFileAtomic(keyring, *keys, 0600));
  RETURN_IF_ERROR(os::WriteFileAtomic(signature_file, *signature, 0600));
  os::Command command;
  command.argv = {"gpgv", "--homedir", scratch.path, "--keyring", keyring, "--status-fd", "1", "--", signature_file, request.file};
  const char* path = std::getenv("PATH");
  command.env = std::vector<std::string>{absl::StrCat("PATH=", path == nullptr ? "/usr/bin:/bin" : path), "LC_ALL=C", "HOME=/dev/null"};
  absl::StatusOr<os::RunResult> run = os::Run(command, {}, cancel);
  if (absl::IsNotFound(run.status())) return absl::FailedPreconditionError("verifying OpenPGP signatures needs the program gpgv");
  RETURN_IF_ERROR(run.status());
  return JudgeGpgvStatus(run->out, request.reject_expired);
}

}  // namespace cachalot::op
