#include "os/emulation.h"

#include <sys/mount.h>
#include <unistd.h>

#include <cstdint>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "os/file.h"

namespace cachalot::os {
namespace {

constexpr std::size_t kMaxEntry = 4096;

struct Architecture {
  const char* name;
  bool wide;  // 64 bits
  bool little_endian;
  std::uint16_t machine;
};
constexpr Architecture kArchitectures[] = {
    {"amd64", true, true, 62},   {"arm64", true, true, 183},   {"riscv64", true, true, 243}, {"ppc64", true, false, 21},
    {"ppc64le", true, true, 21}, {"s390x", true, false, 22},   {"386", false, true, 3},      {"mips64le", true, true, 8},
    {"mips64", true, false, 8},  {"loong64", true, true, 258}, {"arm", false, true, 40},
};

// The first bytes of a program.
std::string ProgramHeader(const Architecture& architecture) {
  std::string header(
      "\x7f"
      "ELF",
      4);
  header += static_cast<char>(architecture.wide ? 2 : 1);
  header += static_cast<char>(architecture.little_endian ? 1 : 2);
  header += '\x01';
  header.resize(16);
  const auto number = [&](std::uint16_t value) {
    const char low = static_cast<char>(value & 0xff), high = static_cast<char>(value >> 8);
    header += architecture.little_endian ? low : high;
    header += architecture.little_endian ? high : low;
  };
  number(2);  // an executable
  number(architecture.machine);
  header.resize(64);
  return header;
}

// What a registered emulator takes, and whether containers can use it.
struct Emulator {
  bool usable = false;
  std::size_t offset = 0;
  std::string magic, mask;

  bool Takes(const std::string& header) const {
    if (!usable || magic.empty() || offset + magic.size() > header.size()) return false;
    for (std::size_t i = 0; i < magic.size(); ++i) {
      const char bits = i < mask.size() ? mask[i] : '\xff';
      if ((header[offset + i] & bits) != (magic[i] & bits)) return false;
    }
    return true;
  }
};

Emulator ReadEmulator(const std::string& text) {
  Emulator emulator;
  bool enabled = false, open = false;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.empty()) continue;
    if (words[0] == "enabled") enabled = true;
    if (words.size() < 2) continue;
    if (words[0] == "flags:") open = absl::StrContains(words[1], 'F');
    if (words[0] == "offset" && !absl::SimpleAtoi(words[1], &emulator.offset)) return {};
    if (words[0] == "magic") emulator.magic = absl::HexStringToBytes(words[1]);
    if (words[0] == "mask") emulator.mask = absl::HexStringToBytes(words[1]);
  }
  emulator.usable = enabled && open;
  return emulator;
}

}  // namespace

std::vector<std::string> EmulatedArchitectures(const std::string& directory) {
  const absl::StatusOr<std::vector<DirectoryEntry>> entries = ListDirectory(directory);
  std::vector<std::string> names;
  if (!entries.ok()) return names;
  std::vector<Emulator> emulators;
  for (const DirectoryEntry& entry : *entries) {
    if (entry.name == "register" || entry.name == "status") continue;
    const absl::StatusOr<std::string> text = ReadFile(absl::StrCat(directory, "/", entry.name), kMaxEntry);
    if (text.ok()) emulators.push_back(ReadEmulator(*text));
  }
  for (const Architecture& architecture : kArchitectures) {
    const std::string header = ProgramHeader(architecture);
    for (const Emulator& emulator : emulators) {
      if (!emulator.Takes(header)) continue;
      names.emplace_back(architecture.name);
      break;
    }
  }
  return names;
}

void MountBinfmtRegistry() {
  if (::access("/proc/sys/fs/binfmt_misc/register", F_OK) == 0) return;
  ::mount("binfmt_misc", kBinfmtDirectory, "binfmt_misc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);  // else there is nothing to be seen
}

}  // namespace cachalot::os
