#include "dockerfile/compile/config.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/shell/quote.h"
#include "oci/reference.h"

namespace cachalot::dockerfile {
namespace {

constexpr int kMaxCpu = 8192;

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

std::map<std::string, std::string> WithPrefix(const Options& options, absl::string_view prefix) {
  std::map<std::string, std::string> out;
  for (const auto& [name, value] : options) {
    absl::string_view rest = name;
    if (absl::ConsumePrefix(&rest, prefix)) out.emplace(std::string(rest), value);
  }
  return out;
}

// The address in its canonical form; empty when `text` is none.
std::string CanonicalIp(const std::string& text) {
  for (const int family : {AF_INET, AF_INET6}) {
    unsigned char bytes[sizeof(in6_addr)];
    std::array<char, INET6_ADDRSTRLEN> out{};
    if (inet_pton(family, text.c_str(), bytes) == 1 && inet_ntop(family, bytes, out.data(), out.size()) != nullptr) return out.data();
  }
  return "";
}

absl::StatusOr<std::vector<llb::HostIp>> ParseExtraHosts(const std::string& text) {
  std::vector<llb::HostIp> hosts;
  if (text.empty()) return hosts;
  ASSIGN_OR_RETURN(const std::vector<std::string> fields, ParseCsvLine(text));
  for (const std::string& field : fields) {
    const std::string lower = absl::AsciiStrToLower(field);
    const std::size_t equals = lower.find('=');
    if (equals == std::string::npos) return Invalid("invalid key-value pair ", field);
    const std::string ip = CanonicalIp(lower.substr(equals + 1));
    if (ip.empty()) return Invalid("failed to parse IP ", lower.substr(equals + 1));
    hosts.push_back({lower.substr(0, equals), ip});
  }
  return hosts;
}

absl::StatusOr<llb::Ulimit> ParseUlimit(const std::string& text) {
  static constexpr absl::string_view kNames[] = {"core",   "cpu",   "data", "fsize",  "locks",  "memlock",    "msgqueue", "nice",
                                                 "nofile", "nproc", "rss",  "rtprio", "rttime", "sigpending", "stack"};
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) return Invalid("invalid ulimit argument: ", text);
  llb::Ulimit limit;
  limit.name = text.substr(0, equals);
  if (std::find(std::begin(kNames), std::end(kNames), limit.name) == std::end(kNames)) return Invalid("invalid ulimit type: ", limit.name);
  const std::string value = text.substr(equals + 1);
  const std::vector<std::string> parts = absl::StrSplit(value, ':');
  if (parts.size() > 2) return Invalid("too many limit value arguments - ", value, ", can only have up to two, `soft[:hard]`");
  ASSIGN_OR_RETURN(limit.hard, ParseInteger(parts.back()));
  ASSIGN_OR_RETURN(limit.soft, ParseInteger(parts.front()));
  constexpr absl::string_view kOrder = "ulimit soft limit must be less than or equal to hard limit: ";
  if (limit.hard != -1 && limit.soft == -1) return Invalid(kOrder, "soft: -1 (unlimited), hard: ", limit.hard);
  if (limit.hard != -1 && limit.soft > limit.hard) return Invalid(kOrder, limit.soft, " > ", limit.hard);
  return limit;
}

absl::StatusOr<std::vector<llb::Ulimit>> ParseUlimits(const std::string& text) {
  std::vector<llb::Ulimit> limits;
  if (text.empty()) return limits;
  ASSIGN_OR_RETURN(const std::vector<std::string> fields, ParseCsvLine(text));
  for (const std::string& field : fields) {
    ASSIGN_OR_RETURN(llb::Ulimit limit, ParseUlimit(field));
    limits.push_back(std::move(limit));
  }
  return limits;
}

// "0-3,5": numbers and ranges up to kMaxCpu.
absl::Status CheckCpuSet(const std::string& text) {
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    part = absl::StripAsciiWhitespace(part);
    if (part.empty()) continue;
    const std::pair<absl::string_view, absl::string_view> ends = absl::StrSplit(part, absl::MaxSplits('-', 1));
    const bool range = absl::StrContains(part, "-");
    const auto low = ParseUnsigned32(absl::StripAsciiWhitespace(ends.first), 10);
    const auto high = range ? ParseUnsigned32(absl::StripAsciiWhitespace(ends.second), 10) : low;
    const absl::string_view what = range ? "range " : "element ";
    if (!low.has_value() || !high.has_value() || *high < *low) return Invalid("invalid cpuset ", what, GoQuote(part));
    if (*high > kMaxCpu) return Invalid("cpuset ", what, GoQuote(part), " exceeds maximum ", kMaxCpu);
  }
  return absl::OkStatus();
}

// Reads resource limits one by one, remembering whether there is any.
class ResourceReader {
 public:
  explicit ResourceReader(const Options& options) : options_(options) {}

  template <typename T>
  absl::Status Number(const char* name, T* value, bool unlimited_allowed = false) {
    const std::string& text = Option(options_, name);
    if (text.empty()) return absl::OkStatus();
    const absl::StatusOr<std::int64_t> number = ParseInteger(text);
    const std::string what = absl::StrCat("invalid ", name, " value: ", text);
    if (!number.ok()) return Annotate(number.status(), what);
    if (unlimited_allowed && (*number < -1 || *number == 0)) return Invalid(what, ": must be -1 (unlimited) or > 0");
    if (!unlimited_allowed && *number <= 0) return Invalid(what, ": must be > 0");
    *value = static_cast<T>(*number);
    any_ = true;
    return absl::OkStatus();
  }

  absl::Status CpuSet(const char* name, std::string* value) {
    const std::string& text = Option(options_, name);
    if (text.empty()) return absl::OkStatus();
    if (const absl::Status status = CheckCpuSet(text); !status.ok()) return Annotate(status, absl::StrCat("invalid ", name, " value: ", text));
    *value = text;
    any_ = true;
    return absl::OkStatus();
  }

  bool any() const { return any_; }

 private:
  const Options& options_;
  bool any_ = false;
};

absl::StatusOr<std::optional<llb::LinuxResources>> ParseResources(const Options& options) {
  llb::LinuxResources limits;
  ResourceReader reader(options);
  RETURN_IF_ERROR(reader.Number("memory", &limits.memory));
  RETURN_IF_ERROR(reader.Number("memswap", &limits.memory_swap, /*unlimited_allowed=*/true));
  RETURN_IF_ERROR(reader.Number("cpushares", &limits.cpu_shares));
  RETURN_IF_ERROR(reader.Number("cpuperiod", &limits.cpu_period));
  RETURN_IF_ERROR(reader.Number("cpuquota", &limits.cpu_quota));
  RETURN_IF_ERROR(reader.CpuSet("cpusetcpus", &limits.cpuset_cpus));
  RETURN_IF_ERROR(reader.CpuSet("cpusetmems", &limits.cpuset_mems));
  if (!reader.any()) return std::nullopt;
  return limits;
}

absl::StatusOr<llb::NetMode> ParseNetMode(const std::string& text) {
  if (text.empty() || text == "sandbox") return llb::NetMode::kSandbox;
  if (text == "host") return llb::NetMode::kHost;
  if (text == "none") return llb::NetMode::kNone;
  return Invalid("invalid netmode ", text);
}

absl::StatusOr<llb::ResolveMode> ParseResolveMode(const std::string& text) {
  for (const llb::ResolveMode mode : {llb::ResolveMode::kDefault, llb::ResolveMode::kForcePull, llb::ResolveMode::kPreferLocal}) {
    if (text == ResolveModeName(mode)) return mode;
  }
  if (text.empty()) return llb::ResolveMode::kDefault;
  return Invalid("invalid image-resolve-mode: ", text);
}

absl::StatusOr<std::vector<oci::Platform>> ParsePlatforms(const std::string& text) {
  std::vector<oci::Platform> platforms;
  if (text.empty()) return platforms;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const absl::StatusOr<oci::Platform> platform = oci::ParsePlatform(part);
    if (!platform.ok()) return Annotate(platform.status(), absl::StrCat("failed to parse target platform ", part));
    platforms.push_back(oci::Normalize(*platform));
  }
  return platforms;
}

absl::Status ParseMultiPlatform(const Options& options, Config* config) {
  config->multi_platform = config->platforms.size() > 1;
  std::string text = Option(options, "build-arg:BUILDKIT_MULTI_PLATFORM");
  if (text.empty()) text = Option(options, "multi-platform");
  if (text.empty()) return absl::OkStatus();
  const std::optional<bool> wanted = ParseBool(text);
  if (!wanted.has_value()) return Invalid("invalid boolean value for multi-platform: ", text);
  if (!*wanted && config->multi_platform) return Invalid("conflicting config: returning multiple target platforms is not allowed");
  config->multi_platform = *wanted;
  return absl::OkStatus();
}

template <typename T>
absl::Status Parsed(absl::StatusOr<T> parsed, absl::string_view context, T* place) {
  if (!parsed.ok()) return Annotate(parsed.status(), context);
  *place = *std::move(parsed);
  return absl::OkStatus();
}

}  // namespace

const std::string& Option(const Options& options, const std::string& name) {
  static const std::string& empty = *new std::string;
  const auto found = options.find(name);
  return found == options.end() ? empty : found->second;
}

absl::string_view ResolveModeName(llb::ResolveMode mode) {
  switch (mode) {
    case llb::ResolveMode::kDefault: return "default";
    case llb::ResolveMode::kForcePull: return "pull";
    case llb::ResolveMode::kPreferLocal: return "local";
  }
  return "default";
}

absl::StatusOr<std::optional<SbomRequest>> ParseSbom(const Options& options) {
  const std::string* text = nullptr;
  for (const char* name : {"attest:sbom", "build-arg:BUILDKIT_ATTEST_SBOM"}) {
    if (const auto found = options.find(name); found != options.end()) text = &found->second;
  }
  if (text == nullptr) return std::nullopt;
  SbomRequest request;
  std::string generator = "docker/buildkit-syft-scanner:stable-1";
  std::vector<std::string> fields;
  if (!text->empty()) {
    absl::StatusOr<std::vector<std::string>> parsed = ParseCsvLine(*text);
    if (!parsed.ok()) return Annotate(parsed.status(), "failed to parse sbom");
    fields = *std::move(parsed);
  }
  for (const std::string& field : fields) {
    const std::size_t equals = field.find('=');
    const std::string value = equals == std::string::npos ? "" : field.substr(equals + 1);
    (field.substr(0, equals) == "generator" ? generator : request.parameters[field.substr(0, equals)]) = value;
  }
  const absl::StatusOr<oci::Reference> reference = oci::Reference::ParseNormalized(generator);
  if (!reference.ok()) return Annotate(reference.status(), absl::StrCat("failed to parse sbom scanner ", generator));
  request.generator = reference->str();
  return request;
}

bool Config::IsNoCache(absl::string_view stage) const {
  if (!no_cache_stages.has_value()) return false;
  return no_cache_stages->empty() ||
         std::any_of(no_cache_stages->begin(), no_cache_stages->end(), [&](const std::string& name) { return absl::EqualsIgnoreCase(name, stage); });
}

absl::StatusOr<Config> ParseConfig(const Options& options) {
  Config config;
  ASSIGN_OR_RETURN(config.platforms, ParsePlatforms(Option(options, "platform")));
  ASSIGN_OR_RETURN(config.resolve_mode, ParseResolveMode(Option(options, "image-resolve-mode")));
  RETURN_IF_ERROR(Parsed(ParseExtraHosts(Option(options, "add-hosts")), "failed to parse additional hosts", &config.extra_hosts));
  if (const std::string& size = Option(options, "shm-size"); !size.empty()) {
    RETURN_IF_ERROR(Parsed(ParseInteger(size), "failed to parse shm size", &config.shm_size));
  }
  RETURN_IF_ERROR(Parsed(ParseUlimits(Option(options, "ulimit")), "failed to parse ulimit", &config.ulimits));
  RETURN_IF_ERROR(Parsed(ParseResources(options), "failed to parse resource limits", &config.resources));
  ASSIGN_OR_RETURN(config.network, ParseNetMode(Option(options, "force-network-mode")));
  if (const auto no_cache = options.find("no-cache"); no_cache != options.end()) {
    config.no_cache_stages.emplace();
    if (!no_cache->second.empty()) config.no_cache_stages = absl::StrSplit(no_cache->second, ',');
  }
  RETURN_IF_ERROR(ParseMultiPlatform(options, &config));
  ASSIGN_OR_RETURN(config.sbom, ParseSbom(options));
  config.build_args = WithPrefix(options, "build-arg:");
  config.labels = WithPrefix(options, "label:");
  config.cache_namespace = Option(options, "build-arg:BUILDKIT_CACHE_MOUNT_NS");
  config.cgroup_parent = Option(options, "cgroup-parent");
  config.target = Option(options, "target");
  config.hostname = Option(options, "build-arg:BUILDKIT_SANDBOX_HOSTNAME");
  if (config.hostname.empty()) config.hostname = Option(options, "hostname");
  if (const auto check = options.find("build-arg:BUILDKIT_DOCKERFILE_CHECK"); check != options.end()) {
    config.lint.emplace();
    RETURN_IF_ERROR(Parsed(ParseLintOptions(check->second), "failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK", &*config.lint));
  }
  return config;
}

absl::Status UnsupportedCap(absl::string_view name) {
  absl::Status status = absl::UnimplementedError(absl::StrCat("unsupported frontend capability ", name));
  status.SetPayload("github.com/moby/buildkit/errdefs.FrontendCap+json", absl::Cord(absl::StrCat("{\"name\":", GoQuote(name), "}")));
  return status;
}

absl::Status CheckFrontendCaps(const Options& options) {
  const std::string& wanted = Option(options, "frontend.caps");
  if (wanted.empty()) return absl::OkStatus();
  for (const absl::string_view cap : absl::StrSplit(wanted, ',')) {
    const absl::string_view name = cap.substr(0, cap.find('+'));
    if (name == "moby.buildkit.frontend.inputs" || name == "moby.buildkit.frontend.subrequests" || name == "moby.buildkit.frontend.contexts" ||
        name == "moby.buildkit.frontend.gitquerystring") {
      continue;
    }
    return UnsupportedCap(name);
  }
  return absl::OkStatus();
}

}  // namespace cachalot::dockerfile
