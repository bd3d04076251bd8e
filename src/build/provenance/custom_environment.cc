#include "build/provenance/custom_environment.h"

#include <dirent.h>

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "oci/go_json.h"
#include "os/file.h"

namespace cachalot::build {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20;

}  // namespace

absl::StatusOr<std::string> LoadCustomEnvironment(const std::string& directory) {
  if (directory.empty()) return std::string();
  absl::StatusOr<std::vector<os::DirectoryEntry>> entries = os::ListDirectory(directory);
  if (absl::IsNotFound(entries.status())) return std::string();
  RETURN_IF_ERROR(entries.status());
  std::sort(entries->begin(), entries->end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  oci::Json all = oci::Json::object();
  for (const os::DirectoryEntry& entry : *entries) {
    if (entry.type == DT_DIR || !absl::EndsWith(entry.name, ".json")) continue;
    const std::string path = absl::StrCat(directory, "/", entry.name);
    ASSIGN_OR_RETURN(const std::string text, os::ReadFile(path, kMaxBytes));
    ASSIGN_OR_RETURN(const oci::Json json, oci::ParseJson(text, path));
    if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(path, " is not a JSON object"));
    for (auto it = json.begin(); it != json.end(); ++it) all[it.key()] = *it;
  }
  for (const char* builtin : {"buildConfig", "builderPlatform", "platform"}) {
    if (all.contains(builtin)) {
      return absl::InvalidArgumentError(absl::StrCat("key \"", builtin, "\" is builtin and not allowed to be modified in provenance config"));
    }
  }
  return all.empty() ? std::string() : oci::DumpGo(all);
}

}  // namespace cachalot::build
