#include "oci/package_url.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "oci/reference.h"

namespace cachalot::oci {
namespace {

// Percent-encodes everything but letters, digits, "-_.~" and the characters of `plain`.
std::string Escape(absl::string_view text, absl::string_view plain) {
  std::string out;
  for (const char c : text) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::string_view("-_.~").find(c) != absl::string_view::npos ||
        plain.find(c) != absl::string_view::npos) {
      out.push_back(c);
    } else {
      constexpr char kHex[] = "0123456789ABCDEF";
      const auto byte = static_cast<unsigned char>(c);
      absl::StrAppend(&out, "%", std::string(1, kHex[byte >> 4]), std::string(1, kHex[byte & 15]));
    }
  }
  return out;
}

constexpr absl::string_view kPlainInValues = "$&+=:@";

}  // namespace

absl::StatusOr<std::string> PackageUrl(absl::string_view type, absl::string_view ref, const std::optional<Platform>& platform,
                                       const std::vector<std::pair<std::string, std::string>>& qualifiers) {
  absl::StatusOr<Reference> parsed = Reference::ParseNormalized(ref);
  if (!parsed.ok()) return Annotate(parsed.status(), absl::StrCat("failed to parse ref \"", ref, "\""));
  std::vector<std::pair<std::string, std::string>> all;
  if (!parsed->digest.empty()) all.emplace_back("digest", parsed->digest.str());
  if (platform.has_value()) all.emplace_back("platform", FormatPlatform(*platform));
  all.insert(all.end(), qualifiers.begin(), qualifiers.end());

  Reference name = *parsed;
  name.tag.clear();
  name.digest = {};
  const std::vector<std::string> parts = absl::StrSplit(name.familiar(), '/');
  const auto escaped = [](std::string* out, const std::string& part) { absl::StrAppend(out, Escape(part, "")); };
  std::string out = absl::StrCat("pkg:", type, "/", absl::StrJoin(parts, "/", escaped));
  if (!parsed->tag.empty()) absl::StrAppend(&out, "@", Escape(parsed->tag, kPlainInValues));
  for (std::size_t i = 0; i < all.size(); ++i) {
    absl::StrAppend(&out, i == 0 ? "?" : "&", all[i].first, "=", Escape(all[i].second, kPlainInValues));
  }
  return out;
}

}  // namespace cachalot::oci
