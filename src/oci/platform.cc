#include "oci/platform.h"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace cachalot::oci {
namespace {

template <typename List>
bool Contains(const List& list, absl::string_view value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

bool IsKnownOs(absl::string_view os) {
  static constexpr std::array<absl::string_view, 17> kKnown = {"aix",     "android", "darwin",  "dragonfly", "freebsd", "hurd",
                                                               "illumos", "ios",     "js",      "linux",     "nacl",    "netbsd",
                                                               "openbsd", "plan9",   "solaris", "windows",   "zos"};
  return Contains(kKnown, os);
}

bool IsKnownArch(absl::string_view arch) {
  static constexpr std::array<absl::string_view, 25> kKnown = {
      "386",    "amd64",    "amd64p32",  "arm",         "armbe", "arm64", "arm64be", "ppc64", "ppc64le", "loong64", "mips",    "mipsle",
      "mips64", "mips64le", "mips64p32", "mips64p32le", "ppc",   "riscv", "riscv64", "s390",  "s390x",   "sparc",   "sparc64", "wasm"};
  return Contains(kKnown, arch);
}

bool IsSpecifier(absl::string_view part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-'; });
}

void NormalizeArch(std::string& arch, std::string& variant) {
  absl::AsciiStrToLower(&arch);
  absl::AsciiStrToLower(&variant);
  if (arch == "i386") {
    arch = "386";
    variant.clear();
  } else if (arch == "x86_64" || arch == "x86-64" || arch == "amd64") {
    arch = "amd64";
    if (variant == "v1") variant.clear();
  } else if (arch == "aarch64" || arch == "arm64") {
    arch = "arm64";
    if (variant == "8" || variant == "v8" || variant == "v8.0") variant.clear();
    if (variant == "9" || variant == "9.0" || variant == "v9.0") variant = "v9";
  } else if (arch == "armhf") {
    arch = "arm";
    variant = "v7";
  } else if (arch == "armel") {
    arch = "arm";
    variant = "v6";
  } else if (arch == "arm") {
    if (variant.empty() || variant == "7") variant = "v7";
    if (variant == "5" || variant == "6" || variant == "8") variant = absl::StrCat("v", variant);
  }
}

// The version of the operating system and its features travel percent-encoded where they would clash with the grammar.
std::string EncodeOption(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"%", "%25"}, {"+", "%2B"}, {"(", "%28"}, {")", "%29"}, {"/", "%2F"}});
}

absl::StatusOr<std::string> DecodeOption(absl::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size() || !absl::ascii_isxdigit(text[i + 1]) || !absl::ascii_isxdigit(text[i + 2])) {
      return absl::InvalidArgumentError(absl::StrCat("invalid escape in \"", absl::CEscape(text), "\""));
    }
    out += absl::HexStringToBytes(text.substr(i + 1, 2));
    i += 2;
  }
  return out;
}

// Splits "os" or "os(version+feature+...)".
absl::Status ParseOs(absl::string_view part, absl::string_view whole, Platform& platform) {
  absl::string_view options;
  absl::string_view os = part;
  if (const std::size_t open = part.find('('); open != absl::string_view::npos) {
    if (part.back() != ')') {
      return absl::InvalidArgumentError(absl::StrCat("\"", part, "\" is an invalid OS component of \"", whole, "\""));
    }
    os = part.substr(0, open);
    options = part.substr(open + 1, part.size() - open - 2);
  }
  if (!IsSpecifier(os)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", part, "\" is an invalid OS component of \"", whole, "\""));
  }
  platform.os = absl::AsciiStrToLower(os);
  if (platform.os == "macos") platform.os = "darwin";
  std::vector<std::string> fields = absl::StrSplit(options, '+');
  for (std::size_t i = 0; i < fields.size(); ++i) {
    absl::StatusOr<std::string> decoded = DecodeOption(fields[i]);
    if (!decoded.ok()) return decoded.status();
    if (i == 0) {
      platform.os_version = *std::move(decoded);
    } else if (!decoded->empty()) {
      platform.os_features.push_back(*std::move(decoded));
    }
  }
  return absl::OkStatus();
}

Platform WithVariant(Platform platform, absl::string_view arch, std::string variant) {
  platform.architecture = std::string(arch);
  platform.variant = std::move(variant);
  return platform;
}

void AddOlderVariants(const Platform& platform, int oldest, std::vector<Platform>& out) {
  int version = 0;
  if (!absl::SimpleAtoi(absl::StripPrefix(platform.variant, "v"), &version)) return;
  for (--version; version >= oldest; --version) out.push_back(WithVariant(platform, platform.architecture, absl::StrCat("v", version)));
}

// arm64 v9.N also runs what v8.(N+5) runs.
void AddArm64Variants(const Platform& platform, std::vector<Platform>& out) {
  const std::vector<std::string> parts = absl::StrSplit(absl::StripPrefix(platform.variant.empty() ? "v8" : platform.variant, "v"), '.');
  int major = 0;
  int minor = 0;
  if (parts.size() > 2 || !absl::SimpleAtoi(parts[0], &major) || (parts.size() == 2 && !absl::SimpleAtoi(parts[1], &minor))) return;
  if ((major != 8 && major != 9) || minor < 0 || minor > 9) return;
  const auto add = [&](int version, int from) {
    for (int i = from; i >= 0; --i)
      out.push_back(WithVariant(platform, "arm64", i == 0 ? absl::StrCat("v", version) : absl::StrCat("v", version, ".", i)));
  };
  add(major, minor);
  if (major == 9) add(8, std::min(minor + 5, 9));
}

// What a machine of `platform` runs, best first.
std::vector<Platform> Served(const Platform& platform) {
  std::vector<Platform> out;
  if (platform.architecture == "arm64") {
    AddArm64Variants(platform, out);
    const Platform arm = WithVariant(platform, "arm", "v8");
    out.push_back(arm);
    AddOlderVariants(arm, 5, out);
    if (out.empty()) out.push_back(platform);
    return out;
  }
  out.push_back(platform);
  if (platform.architecture == "amd64") {
    AddOlderVariants(platform, 1, out);
    out.push_back(WithVariant(platform, "386", ""));
  } else if (platform.architecture == "arm") {
    AddOlderVariants(platform, 5, out);
  }
  return out;
}

// "major.minor.build[.revision]" of Windows.
struct WindowsVersion {
  int major = 0, minor = 0, build = 0;
};
std::optional<WindowsVersion> ParseWindowsVersion(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '.');
  WindowsVersion version;
  if (parts.size() < 3 || !absl::SimpleAtoi(parts[0], &version.major) || !absl::SimpleAtoi(parts[1], &version.minor) ||
      !absl::SimpleAtoi(parts[2], &version.build)) {
    return std::nullopt;
  }
  return version;
}

// Whether Windows of one version runs containers made for another: since Server 2022 every release runs those from the last
// long-term one before it on; older ones run their own build's only.
bool WindowsServes(const std::string& wanted, const std::string& candidate) {
  constexpr int kServer2022 = 20348, kServer2025 = 26100;
  const std::optional<WindowsVersion> host = ParseWindowsVersion(wanted);
  if (!host.has_value() || candidate.empty()) return true;
  const WindowsVersion image = ParseWindowsVersion(candidate).value_or(WindowsVersion());
  if (host->major != image.major || host->minor != image.minor) return false;
  if (host->build < kServer2022) return host->build == image.build;
  const int oldest = host->build > kServer2025 ? kServer2025 : kServer2022;
  return oldest <= image.build && image.build <= host->build;
}

}  // namespace

Platform HostPlatform() {
  static const Platform host = [] {
    Platform platform;
    platform.os = "linux";
    utsname names{};
    const bool known = uname(&names) == 0;
    platform.architecture = known ? names.machine : "amd64";
    if (absl::StartsWith(platform.architecture, "armv")) {
      platform.variant = platform.architecture.substr(3, 2);
      platform.architecture = "arm";
    } else if (platform.architecture == "i686" || platform.architecture == "i586") {
      platform.architecture = "386";
    } else if (platform.architecture == "loongarch64") {
      platform.architecture = "loong64";
    }
    return Normalize(std::move(platform));
  }();
  return host;
}

Platform Normalize(Platform platform) {
  if (platform.os.empty()) platform.os = "linux";
  absl::AsciiStrToLower(&platform.os);
  if (platform.os == "macos") platform.os = "darwin";
  NormalizeArch(platform.architecture, platform.variant);
  std::sort(platform.os_features.begin(), platform.os_features.end());
  platform.os_features.erase(std::unique(platform.os_features.begin(), platform.os_features.end()), platform.os_features.end());
  return platform;
}

absl::StatusOr<Platform> ParsePlatform(absl::string_view text) {
  if (text.size() > 512) return absl::InvalidArgumentError("platform specifier is too long");
  if (absl::StrContains(text, "*")) return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": wildcards not yet supported"));
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  Platform platform;
  if (absl::Status status = ParseOs(parts[0], text, platform); !status.ok()) return status;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    if (!IsSpecifier(parts[i])) {
      return absl::InvalidArgumentError(absl::StrCat("\"", parts[i], "\" is an invalid component of \"", text,
                                                     "\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"));
    }
  }
  if (parts.size() == 1) {
    if (IsKnownOs(platform.os)) {
      platform.architecture = HostPlatform().architecture;
      platform.variant = HostPlatform().variant;
      return Normalize(std::move(platform));
    }
    platform.architecture = parts[0];
    platform = Normalize(std::move(platform));
    if (!IsKnownArch(platform.architecture)) {
      return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": unknown operating system or architecture: invalid argument"));
    }
    platform.os = "linux";
    return platform;
  }
  if (parts.size() > 3) return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": cannot parse platform specifier: invalid argument"));
  platform.architecture = parts[1];
  if (parts.size() == 3) platform.variant = parts[2];
  return Normalize(std::move(platform));
}

std::string FormatPlatform(const Platform& platform, bool with_version) {
  if (platform.os.empty()) return "unknown";
  const Platform normal = Normalize(platform);
  std::string out = normal.os;
  if (with_version && (!normal.os_version.empty() || !normal.os_features.empty())) {
    absl::StrAppend(&out, "(", EncodeOption(normal.os_version));
    for (const std::string& feature : normal.os_features) absl::StrAppend(&out, "+", EncodeOption(feature));
    absl::StrAppend(&out, ")");
  }
  for (const std::string* part : {&normal.architecture, &normal.variant}) {
    if (!part->empty()) absl::StrAppend(&out, "/", *part);
  }
  return out;
}

int PlatformRank(const Platform& wanted, const Platform& candidate) {
  const Platform want = Normalize(wanted);
  Platform have = Normalize(candidate);
  if (want.os != have.os) return -1;
  if (want.os == "windows") {
    if (!WindowsServes(want.os_version, have.os_version)) return -1;
    std::erase(have.os_features, "win32k");  // says nothing about what the image needs
  }
  if (!std::includes(want.os_features.begin(), want.os_features.end(), have.os_features.begin(), have.os_features.end())) return -1;
  const std::vector<Platform> served = Served(want);
  for (std::size_t i = 0; i < served.size(); ++i) {
    const Platform option = Normalize(served[i]);
    if (option.architecture == have.architecture && option.variant == have.variant) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace cachalot::oci
