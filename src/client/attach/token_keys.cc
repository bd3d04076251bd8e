#include "client/attach/token_keys.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/file.h>
#include <sys/random.h>

#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "oci/go_json.h"
#include "os/file.h"

namespace cachalot::client {
namespace {

constexpr std::size_t kSeedBytes = 16;
constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kMaxFileBytes = 8 << 20;

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

std::string RandomSeed() {
  std::string seed(kSeedBytes, '\0');
  while (getrandom(seed.data(), seed.size(), 0) != static_cast<ssize_t>(seed.size())) {
  }
  return seed;
}

// The file maps hosts to {"Seed": base64}; it is shared with other BuildKit clients.
absl::StatusOr<std::string> SeedFor(const std::string& directory, const std::string& host) {
  RETURN_IF_ERROR(os::MakeDirectories(directory));
  const auto lock = os::Open(directory + "/.token_seed.lock", O_RDWR | O_CREAT, 0600);
  if (lock.ok()) {  // a read-only home directory still serves, with a seed for this call
    flock(lock->get(), LOCK_EX);
  }
  const std::string path = directory + "/.token_seed";
  oci::Json seeds = oci::Json::object();
  if (const auto text = os::ReadFile(path, kMaxFileBytes); text.ok()) {
    // A file that a crash cut short is started anew.
    if (auto parsed = oci::ParseJson(*text, path); parsed.ok() && parsed->is_object()) {
      seeds = *std::move(parsed);
    }
  }
  std::string seed;
  if (const auto found = seeds.find(host); found != seeds.end() && found->is_object()) {
    absl::Status status;
    if (absl::Base64Unescape(oci::ObjectReader(*found, host, status).String("Seed"), &seed) && !seed.empty()) {
      return seed;
    }
  }
  seed = RandomSeed();
  seeds[host] = {{"Seed", absl::Base64Escape(seed)}};
  os::WriteFileAtomic(path, oci::DumpGo(seeds, 2), 0600).IgnoreError();
  return seed;
}

absl::StatusOr<Key> KeyFrom(const std::string& seed) {
  Key key(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, reinterpret_cast<const unsigned char*>(seed.data()), seed.size()), EVP_PKEY_free);
  if (key == nullptr) {
    return absl::InternalError("ed25519 is not available");
  }
  return key;
}

}  // namespace

absl::StatusOr<TokenKey> TokenKey::Derive(const std::string& directory, const std::string& host, absl::string_view salt, bool logged_in) {
  std::string seed;
  ASSIGN_OR_RETURN(seed, SeedFor(directory, host));
  if (!logged_in) {
    seed.clear();
  }
  std::string sum(EVP_MAX_MD_SIZE, '\0');
  unsigned int size = 0;
  if (HMAC(EVP_sha256(), salt.data(), static_cast<int>(salt.size()), reinterpret_cast<const unsigned char*>(seed.data()), seed.size(),
           reinterpret_cast<unsigned char*>(sum.data()), &size) == nullptr) {
    return absl::InternalError("HMAC-SHA256 is not available");
  }
  return TokenKey(sum.substr(0, kKeyBytes));
}

absl::StatusOr<std::string> TokenKey::PublicKey() const {
  ASSIGN_OR_RETURN(const Key key, KeyFrom(seed_));
  std::string bytes(kKeyBytes, '\0');
  std::size_t size = bytes.size();
  if (EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(bytes.data()), &size) != 1) {
    return absl::InternalError("ed25519: no public key");
  }
  return bytes;
}

absl::StatusOr<std::string> TokenKey::Sign(absl::string_view payload) const {
  ASSIGN_OR_RETURN(const Key key, KeyFrom(seed_));
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  std::string signature(64, '\0');
  std::size_t size = signature.size();
  if (EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, reinterpret_cast<const unsigned char*>(payload.data()),
                     payload.size()) != 1) {
    return absl::InternalError("ed25519: signing failed");
  }
  return absl::StrCat(signature, payload);
}

}  // namespace cachalot::client
