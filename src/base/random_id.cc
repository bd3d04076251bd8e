#include "base/random_id.h"

#include <sys/random.h>

#include <cstdint>
#include <cstdlib>

namespace cachalot {

std::string RandomId() {
  constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  constexpr int kLength = 25;
  std::string id;
  while (id.size() < kLength) {
    std::uint8_t bytes[32];
    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
      std::abort();  // documented never to fail for so few bytes once the kernel's pool is ready
    }
    for (const std::uint8_t byte : bytes) {
      // 252 = 7 * 36: rejecting the rest keeps every character equally likely.
      if (byte < 252 && id.size() < kLength) {
        id.push_back(kAlphabet[byte % 36]);
      }
    }
  }
  return id;
}

}  // namespace cachalot
