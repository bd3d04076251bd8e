#include "dockerfile/compile/paths.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "dockerfile/shell/quote.h"

namespace cachalot::dockerfile {

std::string ToSlash(absl::string_view path, absl::string_view os) {
  return os == "windows" ? absl::StrReplaceAll(path, {{"\\", "/"}}) : std::string(path);
}

absl::StatusOr<std::string> WithoutDrive(absl::string_view path, absl::string_view os, bool keep_slash) {
  if (os != "windows") return std::string(path);
  if (path.size() == 2 && path[1] == ':') return absl::InvalidArgumentError(absl::StrCat("No relative path specified in ", GoQuote(path)));
  std::string slashed = ToSlash(path, os);
  if (absl::StartsWith(slashed, "//")) return absl::InvalidArgumentError("UNC paths are not supported");
  if (const std::size_t colon = slashed.find(':'); colon != std::string::npos) {
    if (!absl::EqualsIgnoreCase(slashed.substr(0, colon), "c")) {
      return absl::InvalidArgumentError("The specified path is not on the system drive (C:)");
    }
    slashed.erase(0, colon + 1);
  }
  const bool trailing = keep_slash && absl::EndsWith(slashed, "/");
  std::string clean = CleanPath(slashed);
  if (trailing && clean.size() > 1) clean.push_back('/');
  return clean;
}

bool IsAbsolute(absl::string_view path, absl::string_view os) {
  const absl::StatusOr<std::string> clean = WithoutDrive(path, os, false);
  return clean.ok() && absl::StartsWith(*clean, "/");
}

absl::StatusOr<std::string> NormalizePath(absl::string_view parent, absl::string_view path, absl::string_view os, bool keep_slash) {
  const std::string original = ToSlash(path, os);
  absl::StatusOr<std::string> base = WithoutDrive(parent.empty() ? "/" : ToSlash(parent, os), os, keep_slash);
  if (!base.ok()) return Annotate(base.status(), "removing drive letter");
  if (!absl::StartsWith(*base, "/")) base = JoinPath("/", *base);
  absl::StatusOr<std::string> result = WithoutDrive(original.empty() ? *base : original, os, keep_slash);
  if (!result.ok()) return Annotate(result.status(), "removing drive letter");
  if (!absl::StartsWith(*result, "/")) result = JoinPath(*base, *result);
  if (!keep_slash) return result;
  if (absl::EndsWith(original, "/") && !absl::EndsWith(*result, "/")) {
    result->push_back('/');
  } else if (absl::EndsWith(original, "/.")) {
    absl::StrAppend(&*result, *result == "/" ? "." : "/.");
  }
  return result;
}

absl::StatusOr<std::string> NormalizeWorkdir(absl::string_view current, absl::string_view path, absl::string_view os) {
  absl::StatusOr<std::string> directory = NormalizePath(current, path, os, /*keep_slash=*/false);
  if (!directory.ok()) return Annotate(directory.status(), "normalizing workdir: normalizing working directory");
  return os == "windows" ? absl::StrReplaceAll(*directory, {{"/", "\\"}}) : *directory;
}

}  // namespace cachalot::dockerfile
