#include "oci/reference.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace cachalot::oci {
namespace {

constexpr absl::string_view kDockerDomain = "docker.io";
constexpr absl::string_view kOfficialPrefix = "library/";
constexpr std::size_t kMaxRepositoryLength = 255;
constexpr std::size_t kMaxTagLength = 128;

absl::Status Invalid(absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat("invalid reference format: \"", absl::CEscape(text.substr(0, 300)), "\""));
}

bool IsLowerAlnum(char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); }

bool HasUpper(absl::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return absl::ascii_isupper(c); });
}

// [a-z0-9]+ runs, separated by one of ".", "_", "__" or any number of "-".
bool IsPathComponent(absl::string_view part) {
  if (part.empty() || !IsLowerAlnum(part.front()) || !IsLowerAlnum(part.back())) return false;
  for (std::size_t i = 0; i < part.size();) {
    std::size_t end = i;
    while (end < part.size() && !IsLowerAlnum(part[end])) ++end;
    const absl::string_view separator = part.substr(i, end - i);
    const bool dashes = std::all_of(separator.begin(), separator.end(), [](char c) { return c == '-'; });
    if (!dashes && separator != "." && separator != "_" && separator != "__") return false;
    i = end;
    while (i < part.size() && IsLowerAlnum(part[i])) ++i;
  }
  return true;
}

bool IsDomainName(absl::string_view host) {
  for (absl::string_view label : absl::StrSplit(host, '.')) {
    if (label.empty() || !absl::ascii_isalnum(label.front()) || !absl::ascii_isalnum(label.back())) return false;
    if (!std::all_of(label.begin(), label.end(), [](char c) { return absl::ascii_isalnum(c) || c == '-'; })) return false;
  }
  return true;
}

bool IsDomain(absl::string_view domain) {
  absl::string_view host = domain;
  absl::string_view port;
  bool has_port = false;
  if (absl::StartsWith(domain, "[")) {
    const std::size_t close = domain.find(']');
    if (close == absl::string_view::npos || close == 1) return false;
    const absl::string_view address = domain.substr(1, close - 1);
    if (!std::all_of(address.begin(), address.end(), [](char c) { return absl::ascii_isxdigit(c) || c == ':'; })) return false;
    const absl::string_view rest = domain.substr(close + 1);
    if (rest.empty()) return true;
    has_port = rest.front() == ':';
    if (!has_port) return false;
    port = rest.substr(1);
  } else {
    if (const std::size_t colon = domain.find(':'); colon != absl::string_view::npos) {
      has_port = true;
      host = domain.substr(0, colon);
      port = domain.substr(colon + 1);
    }
    if (!IsDomainName(host)) return false;
  }
  return !has_port || (!port.empty() && std::all_of(port.begin(), port.end(), [](char c) { return absl::ascii_isdigit(c); }));
}

bool IsTag(absl::string_view tag) {
  const auto word = [](char c) { return absl::ascii_isalnum(c) || c == '_'; };
  return !tag.empty() && tag.size() <= kMaxTagLength && word(tag.front()) &&
         std::all_of(tag.begin(), tag.end(), [&](char c) { return word(c) || c == '.' || c == '-'; });
}

// The first component is a registry when it looks like a host: has a dot or a port, is localhost, or has an upper-case letter.
void SplitDomain(absl::string_view text, std::string& domain, std::string& rest) {
  const std::size_t slash = text.find('/');
  const absl::string_view first = text.substr(0, slash);
  if (slash == absl::string_view::npos) {
    domain = std::string(kDockerDomain);
    rest = std::string(text);
  } else if (first == "index.docker.io") {
    domain = std::string(kDockerDomain);
    rest = std::string(text.substr(slash + 1));
  } else if (first == "localhost" || first.find_first_of(".:") != absl::string_view::npos || HasUpper(first)) {
    domain = std::string(first);
    rest = std::string(text.substr(slash + 1));
  } else {
    domain = std::string(kDockerDomain);
    rest = std::string(text);
  }
  if (domain == kDockerDomain && !absl::StrContains(rest, "/")) rest = absl::StrCat(kOfficialPrefix, rest);
}

bool IsIdentifier(absl::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); });
}

}  // namespace

absl::StatusOr<Reference> Reference::ParseNormalized(absl::string_view text) {
  if (IsIdentifier(text)) {
    return absl::InvalidArgumentError(absl::StrCat("invalid repository name (", text, "), cannot specify 64-byte hexadecimal strings"));
  }
  Reference ref;
  std::string rest;
  SplitDomain(text, ref.registry, rest);
  absl::string_view remote = rest;
  if (const absl::string_view name = remote.substr(0, remote.find(':')); HasUpper(name.substr(0, name.find('@')))) {
    return absl::InvalidArgumentError(absl::StrCat("invalid reference format: repository name (", absl::CEscape(name), ") must be lowercase"));
  }
  if (const std::size_t at = remote.find('@'); at != absl::string_view::npos) {
    ASSIGN_OR_RETURN(ref.digest, Digest::Parse(remote.substr(at + 1)));
    remote = remote.substr(0, at);
  }
  if (const std::size_t colon = remote.find(':'); colon != absl::string_view::npos) {
    ref.tag = std::string(remote.substr(colon + 1));
    remote = remote.substr(0, colon);
    if (!IsTag(ref.tag)) return Invalid(text);
  }
  if (!IsDomain(ref.registry)) return Invalid(text);
  for (absl::string_view component : absl::StrSplit(remote, '/')) {
    if (!IsPathComponent(component)) return Invalid(text);
  }
  if (remote.size() > kMaxRepositoryLength) {
    return absl::InvalidArgumentError(absl::StrCat("repository name must not be more than ", kMaxRepositoryLength, " characters"));
  }
  ref.repository = std::string(remote);
  if (ref.tag.empty() && ref.digest.empty()) ref.tag = "latest";
  return ref;
}

std::string Reference::name() const { return absl::StrCat(registry, "/", repository); }

std::string Reference::str() const { return absl::StrCat(name(), tag.empty() ? "" : ":", tag, digest.empty() ? "" : "@", digest.str()); }

std::string Reference::familiar() const {
  std::string out = name();
  if (registry == kDockerDomain) {
    const absl::string_view plain = absl::StripPrefix(repository, kOfficialPrefix);
    out = std::string(absl::StrContains(plain, "/") ? absl::string_view(repository) : plain);
  }
  return absl::StrCat(out, tag.empty() ? "" : ":", tag, digest.empty() ? "" : "@", digest.str());
}

}  // namespace cachalot::oci
