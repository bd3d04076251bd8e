#include "dockerfile/compile/archive_sniffer.h"

#include <cstddef>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {
namespace {

constexpr std::size_t kHeaderBytes = 512;
constexpr std::size_t kChecksumOffset = 148;
constexpr std::size_t kChecksumBytes = 8;

// A tar header carries the sum of its own bytes, its checksum field counted as blanks.
bool IsTarHeader(absl::string_view header) {
  int sum = 0;
  int stored = 0;
  bool has_digits = false;
  for (std::size_t i = 0; i < kHeaderBytes; ++i) {
    const bool in_checksum = i >= kChecksumOffset && i < kChecksumOffset + kChecksumBytes;
    sum += in_checksum ? ' ' : static_cast<unsigned char>(header[i]);
    if (in_checksum && header[i] >= '0' && header[i] <= '7') {
      stored = stored * 8 + (header[i] - '0');
      has_digits = true;
    }
  }
  return has_digits && sum == stored;
}

}  // namespace

bool LooksLikeArchive(absl::string_view head) {
  if (absl::StartsWith(head, "BZh") || absl::StartsWith(head, "\x1F\x8B\x08") ||
      absl::StartsWith(head, absl::string_view("\xFD"
                                               "7zXZ\0",
                                               6))) {
    return true;
  }
  return head.size() >= kHeaderBytes && IsTarHeader(head.substr(0, kHeaderBytes));
}

}  // namespace cachalot::dockerfile
