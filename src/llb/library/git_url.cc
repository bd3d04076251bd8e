#include "llb/library/git_url.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace cachalot::llb {
namespace {

bool AllOf(absl::string_view text, absl::string_view others) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [others](char c) { return absl::ascii_isalnum(c) || absl::StrContains(others, c); });
}

// user@host:path, which git takes for ssh.
std::optional<GitUrl> ParseScpStyle(absl::string_view text) {
  const std::size_t at = text.find('@');
  if (at == absl::string_view::npos || !AllOf(text.substr(0, at), "-_")) return std::nullopt;
  const std::size_t colon = text.find(':', at);
  if (colon == absl::string_view::npos || !AllOf(text.substr(at + 1, colon - at - 1), "-.")) return std::nullopt;
  const absl::string_view path = text.substr(colon + 1, text.find_first_of("?#", colon) - colon - 1);
  GitUrl url;
  url.scheme = "ssh";
  url.host = std::string(text.substr(at + 1, colon - at - 1));
  url.path = std::string(path);
  url.remote = absl::StrCat(text.substr(0, colon + 1), path);
  return url;
}

}  // namespace

bool HasScheme(absl::string_view text) {
  const std::size_t end = text.find("://");
  return end != absl::string_view::npos && AllOf(text.substr(0, end), "");
}

std::optional<GitUrl> ParseGitUrl(absl::string_view text) {
  if (!HasScheme(text)) return ParseScpStyle(text);
  GitUrl url;
  url.scheme = absl::AsciiStrToLower(text.substr(0, text.find("://")));
  if (url.scheme != "https" && url.scheme != "http" && url.scheme != "git" && url.scheme != "ssh") return std::nullopt;
  absl::string_view rest = text.substr(url.scheme.size() + 3);
  rest = rest.substr(0, rest.find_first_of("?#"));
  url.remote = absl::StrCat(url.scheme, "://", rest);
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  const absl::string_view authority = rest.substr(0, slash);
  const std::size_t at = authority.rfind('@');
  url.host = std::string(at == absl::string_view::npos ? authority : authority.substr(at + 1));
  url.path = std::string(rest.substr(slash));
  if (url.host.empty()) return std::nullopt;
  return url;
}

}  // namespace cachalot::llb
