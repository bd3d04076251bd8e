#include "build/platform_check.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "oci/platform.h"

namespace cachalot::build {
namespace {

std::string Format(const oci::Platform& platform) { return oci::FormatPlatform(oci::Normalize(platform), /*with_version=*/true); }

struct Wanted {
  std::vector<std::string> texts;      // as the client wrote them
  std::vector<std::string> platforms;  // normalized
  std::vector<std::string> problems;
};

Wanted ParseWanted(const std::map<std::string, std::string>& options) {
  Wanted wanted;
  const auto given = options.find("platform");
  wanted.texts = absl::StrSplit(given == options.end() ? oci::FormatPlatform(oci::HostPlatform()) : given->second, ',');
  for (const std::string& text : wanted.texts) {
    const absl::StatusOr<oci::Platform> platform = oci::ParsePlatform(text);
    if (!platform.ok()) {
      wanted.problems.push_back(absl::StrCat("Invalid platform result requested \"", text, "\": ", platform.status().message()));
      continue;
    }
    const std::string name = Format(*platform);
    if (std::find(wanted.platforms.begin(), wanted.platforms.end(), name) != wanted.platforms.end()) {
      wanted.problems.push_back(absl::StrCat("Duplicate platform result requested \"", text, "\""));
    }
    wanted.platforms.push_back(name);
  }
  return wanted;
}

std::vector<std::string> PlatformsOf(const exporting::Source& source) {
  std::vector<std::string> out;
  for (const exporting::PlatformResult& result : source.platforms) {
    out.push_back(Format(result.platform.has_value() ? *result.platform : oci::HostPlatform()));
  }
  return out;
}

// One platform was asked for and one is there. A version of the system matters only to those who name one.
std::vector<std::string> CompareOne(const Wanted& wanted, const exporting::Source& source) {
  const std::string got = PlatformsOf(source).front();
  if (got == wanted.platforms.front()) return {};
  oci::Platform plain = source.platforms.front().platform.value_or(oci::HostPlatform());
  plain.os_version.clear();
  if (Format(plain) == wanted.platforms.front()) return {};
  return {absl::StrCat("Requested platform \"", wanted.texts.front(), "\" does not match result platform \"", got, "\"")};
}

}  // namespace

std::vector<std::string> PlatformWarnings(const std::map<std::string, std::string>& options, const llb::FrontendResult& result,
                                          const exporting::Source& source) {
  if (result.metadata.count("refs.platforms") == 0 && result.ref == nullptr && result.refs.empty()) return {};
  Wanted wanted = ParseWanted(options);
  if (!wanted.problems.empty()) return wanted.problems;
  if (wanted.platforms.size() == 1 && source.platforms.size() == 1) return CompareOne(wanted, source);
  if (!source.multi_platform && wanted.platforms.size() > 1) return {"Multiple platforms requested but result is not multi-platform"};
  std::vector<std::string> got = PlatformsOf(source);
  std::sort(got.begin(), got.end());
  std::sort(wanted.platforms.begin(), wanted.platforms.end());
  const bool same = wanted.platforms.size() == got.size() && std::includes(wanted.platforms.begin(), wanted.platforms.end(), got.begin(), got.end());
  if (same) return {};
  return {absl::StrCat("Requested platforms ", absl::StrJoin(wanted.platforms, ","), " do not match result platforms ", absl::StrJoin(got, ","))};
}

}  // namespace cachalot::build
