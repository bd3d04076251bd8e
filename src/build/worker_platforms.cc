#include "build/worker_platforms.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "os/emulation.h"

namespace cachalot::build {
namespace {

// The levels of the x86-64 psABI that this processor has, above the first.
std::vector<std::string> Amd64Levels() {
  std::vector<std::string> levels;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("ssse3") || !__builtin_cpu_supports("popcnt")) return levels;
  levels.emplace_back("v2");
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("fma"))
    return levels;
  levels.emplace_back("v3");
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512cd") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return levels;
  }
  levels.emplace_back("v4");
#endif
  return levels;
}

// Whether the kernel of an amd64 machine runs 32-bit programs.
bool RunsI386() { return ::access("/proc/sys/abi/vsyscall32", F_OK) == 0; }

}  // namespace

std::vector<oci::Platform> RunnablePlatforms() {
  std::vector<oci::Platform> platforms = {oci::HostPlatform()};
  const oci::Platform& host = oci::HostPlatform();
  const auto add = [&](const std::string& architecture, const std::string& variant = "") {
    oci::Platform platform = oci::Normalize({host.os, architecture, variant, "", {}});
    if (std::find(platforms.begin(), platforms.end(), platform) == platforms.end()) platforms.push_back(std::move(platform));
  };
  if (host.architecture == "amd64") {
    for (const std::string& level : Amd64Levels()) add("amd64", level);
    if (RunsI386()) add("386");
  }
  os::MountBinfmtRegistry();
  for (const std::string& architecture : os::EmulatedArchitectures()) {
    if (architecture == host.architecture) continue;
    add(architecture);
    if (architecture == "arm") add("arm", "v6");
  }
  return platforms;
}

}  // namespace cachalot::build
