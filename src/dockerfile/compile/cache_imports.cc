#include "dockerfile/compile/cache_imports.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "oci/go_json.h"

namespace cachalot::dockerfile {
namespace {

constexpr char kImports[] = "cache-imports";

absl::StatusOr<std::vector<llb::CacheImport>> ParseList(const std::string& text) {
  ASSIGN_OR_RETURN(const oci::Json list, oci::ParseJson(text, kImports));
  if (!list.is_array()) return absl::InvalidArgumentError("it is not an array");
  absl::Status status;
  std::vector<llb::CacheImport> imports;
  for (std::size_t i = 0; i < list.size(); ++i) {
    oci::ObjectReader entry(list[i], absl::StrCat(kImports, "[", i, "]"), status);
    llb::CacheImport& import = imports.emplace_back();
    import.type = entry.String("Type");
    import.attrs = entry.StringMap("Attrs");
  }
  RETURN_IF_ERROR(status);
  return imports;
}

}  // namespace

absl::StatusOr<std::vector<llb::CacheImport>> ParseCacheImports(const Options& options) {
  std::vector<llb::CacheImport> imports;
  if (const std::string& list = Option(options, kImports); !list.empty()) {
    absl::StatusOr<std::vector<llb::CacheImport>> parsed = ParseList(list);
    if (!parsed.ok()) return Annotate(parsed.status(), absl::StrCat("failed to unmarshal ", kImports, " (\"", absl::CEscape(list), "\")"));
    imports = *std::move(parsed);
  }
  for (const absl::string_view ref : absl::StrSplit(Option(options, "cache-from"), ',', absl::SkipEmpty())) {
    imports.push_back({"registry", {{"ref", std::string(ref)}}});
  }
  return imports;
}

}  // namespace cachalot::dockerfile
