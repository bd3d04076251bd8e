// Platforms of images and builds: os/arch[/variant][(os version)].
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::oci {

struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;
  std::string os_version;
  std::vector<std::string> os_features;

  friend bool operator==(const Platform&, const Platform&) = default;
};

// The platform of this machine, normalized.
Platform HostPlatform();

// Parses "linux/arm64/v8", "amd64", "linux" and the like as containerd does (missing parts from the host), normalized
// (x86_64 is amd64, aarch64 is arm64, arm without a variant is v7, arm64/v8 drops the variant).
absl::StatusOr<Platform> ParsePlatform(absl::string_view text);
Platform Normalize(Platform platform);

// "os/arch[/variant]" of the normalized platform; with_version adds "(os version)" after the os.
std::string FormatPlatform(const Platform& platform, bool with_version = false);

// How well an image of platform `candidate` serves `wanted`: 0 is exact, higher is worse (arm/v6 serves arm/v7, 386 serves
// amd64 as the last resort, as in containerd), -1 is not at all. Versions count for Windows alone.
int PlatformRank(const Platform& wanted, const Platform& candidate);

}  // namespace cachalot::oci
