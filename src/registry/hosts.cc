#include "registry/hosts.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/value_of.h"

namespace cachalot::registry {
namespace {

Host MakeHost(const HostConfig& config, const std::string& authority, bool insecure) {
  Host host;
  host.authority = authority;
  host.path = "/v2";
  const bool plain = config.plain_http.has_value() ? *config.plain_http : IsLoopbackAuthority(authority);
  const bool unverified = insecure || config.insecure.value_or(false);
  host.tls.insecure = unverified;
  host.tls.root_cas = config.root_cas;
  host.tls.key_pairs = config.key_pairs;
  // Where certificates do not matter anyhow, TLS is still preferred when the server offers it.
  host.http_fallback = unverified && (plain || insecure);
  host.scheme = plain && !unverified ? "http" : "https";
  return host;
}

// "host[/path]", perhaps with a scheme that people write by habit.
Host MakeMirror(const HostConfigs& configs, absl::string_view mirror, const std::string& registry, bool insecure) {
  const bool http = absl::ConsumePrefix(&mirror, "http://");
  absl::ConsumePrefix(&mirror, "https://");
  const std::pair<std::string, std::string> parts = absl::StrSplit(mirror, absl::MaxSplits('/', 1));
  Host host = MakeHost(ValueOf(configs, parts.first), parts.first, insecure);
  const absl::string_view path = absl::StripSuffix(parts.second, "/");
  if (!path.empty()) absl::StrAppend(&host.path, "/", path);
  if (http) host.scheme = "http";
  if (host.authority != registry) host.mirrored_registry = registry;
  return host;
}

}  // namespace

bool IsLoopbackAuthority(absl::string_view authority) {
  if (authority == "::1" || absl::StartsWith(authority, "[::1]")) return true;
  const absl::string_view host = authority.substr(0, authority.find(':'));
  if (host == "localhost") return true;
  return absl::StartsWith(host, "127.") && host.find_first_not_of("0123456789.") == absl::string_view::npos;
}

std::string Host::Url(absl::string_view repository, absl::string_view what) const {
  std::string url = absl::StrCat(scheme, "://", authority, path, "/", repository, "/", what);
  if (!mirrored_registry.empty()) absl::StrAppend(&url, absl::StrContains(what, "?") ? "&" : "?", "ns=", EscapeQuery(mirrored_registry));
  return url;
}

std::vector<Host> HostsOf(const HostConfigs& configs, const std::string& registry, bool insecure, bool mirrors) {
  const HostConfig config = ValueOf(configs, registry);
  std::vector<Host> hosts;
  if (mirrors) {
    for (const std::string& mirror : config.mirrors) hosts.push_back(MakeMirror(configs, mirror, registry, insecure));
  }
  hosts.push_back(MakeHost(config, registry == "docker.io" ? "registry-1.docker.io" : registry, insecure));
  return hosts;
}

}  // namespace cachalot::registry
