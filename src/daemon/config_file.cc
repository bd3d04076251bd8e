#include <toml++/toml.h>

#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "daemon/config.h"

namespace cachalot::daemon {

namespace {

// A value in the file, with what errors about it say.
struct Value {
  const toml::node& node;
  std::string key;  // in full: worker.oci.gc
  const std::string& filename;

  absl::Status Error(absl::string_view problem) const {
    return absl::InvalidArgumentError(absl::StrCat(filename, ":", node.source().begin.line, ": ", key, ": ", problem));
  }
};

using Setter = std::function<absl::Status(const Value&)>;
// The keys that a table may have, in lower case: TOML readers of Go do not mind the case.
using Keys = std::map<std::string, Setter>;

absl::Status ReadTable(const Value& value, const Keys& keys) {
  const toml::table* table = value.node.as_table();
  if (table == nullptr) {
    return value.Error("is not a table");
  }
  for (const auto& [name, node] : *table) {
    const std::string key(name.str());
    const Value member{node, value.key.empty() ? key : absl::StrCat(value.key, ".", key), value.filename};
    const auto setter = keys.find(absl::AsciiStrToLower(key));
    if (setter == keys.end()) {
      return member.Error("unknown key");
    }
    RETURN_IF_ERROR(setter->second(member));
  }
  return absl::OkStatus();
}

Setter Table(Keys keys) {
  return [keys = std::move(keys)](const Value& value) { return ReadTable(value, keys); };
}

Setter Text(std::string& target) {
  return [&target](const Value& value) {
    const auto text = value.node.value_exact<std::string>();
    if (!text.has_value()) return value.Error("is not a string");
    target = *text;
    return absl::OkStatus();
  };
}

template <typename Target>
Setter Flag(Target& target) {
  return [&target](const Value& value) {
    const auto flag = value.node.value_exact<bool>();
    if (!flag.has_value()) return value.Error("is not true or false");
    target = *flag;
    return absl::OkStatus();
  };
}

Setter Number(int& target) {
  return [&target](const Value& value) {
    const auto number = value.node.value_exact<std::int64_t>();
    if (!number.has_value() || *number < 0 || *number > 1'000'000'000) return value.Error("is not a number in range");
    target = static_cast<int>(*number);
    return absl::OkStatus();
  };
}

absl::StatusOr<std::vector<std::string>> TextList(const Value& value) {
  std::vector<std::string> list;
  const toml::array* array = value.node.as_array();
  if (array == nullptr) {
    return value.Error("is not a list");
  }
  for (const toml::node& element : *array) {
    const auto text = element.value_exact<std::string>();
    if (!text.has_value()) return value.Error("holds something else than strings");
    list.push_back(*text);
  }
  return list;
}

Setter Texts(std::vector<std::string>& target) {
  return [&target](const Value& value) -> absl::Status {
    ASSIGN_OR_RETURN(target, TextList(value));
    return absl::OkStatus();
  };
}

// Numbers are allowed where a text with a unit is expected.
absl::StatusOr<std::string> TextOrNumber(const Value& value) {
  if (const auto text = value.node.value_exact<std::string>()) return *text;
  if (const auto number = value.node.value_exact<std::int64_t>()) return std::to_string(*number);
  return value.Error("is neither a string nor a number");
}

Setter Space(DiskSpace& target) {
  return [&target](const Value& value) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string text, TextOrNumber(value));
    const auto space = ParseDiskSpace(text);
    if (!space.ok()) return value.Error(space.status().message());
    target = *space;
    return absl::OkStatus();
  };
}

Setter Duration(absl::Duration& target) {
  return [&target](const Value& value) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string text, TextOrNumber(value));
    const auto duration = ParseDuration(text);
    if (!duration.ok()) return value.Error(duration.status().message());
    target = *duration;
    return absl::OkStatus();
  };
}

Setter TextMap(std::map<std::string, std::string>& target) {
  return [&target](const Value& value) {
    const toml::table* table = value.node.as_table();
    if (table == nullptr) return value.Error("is not a table");
    for (const auto& [name, node] : *table) {
      const auto text = node.value_exact<std::string>();
      if (!text.has_value()) return value.Error(absl::StrCat(std::string(name.str()), " is not a string"));
      target[std::string(name.str())] = *text;
    }
    return absl::OkStatus();
  };
}

Setter Ignored(Settings& settings) {
  return [&settings](const Value& value) {
    settings.ignored.push_back(value.key);
    return absl::OkStatus();
  };
}

// Runs `read` for each table of an array of tables.
Setter Tables(std::function<absl::Status(const Value&)> read) {
  return [read = std::move(read)](const Value& value) {
    const toml::array* array = value.node.as_array();
    if (array == nullptr) return value.Error("is not a list of tables");
    for (const toml::node& element : *array) {
      RETURN_IF_ERROR(read(Value{element, value.key, value.filename}));
    }
    return absl::OkStatus();
  };
}

absl::Status ReadPolicy(const Value& value, Settings& settings) {
  Settings::Policy policy;
  DiskSpace keep_bytes;
  RETURN_IF_ERROR(ReadTable(value, {{"all", Flag(policy.policy.all)},
                                    {"filters", Texts(policy.policy.filters)},
                                    {"keepduration", Duration(policy.policy.keep_duration)},
                                    {"keepbytes", Space(keep_bytes)},
                                    {"reservedspace", Space(policy.limits.reserved)},
                                    {"maxusedspace", Space(policy.limits.max_used)},
                                    {"minfreespace", Space(policy.limits.min_free)}}));
  if (policy.limits.reserved.empty()) {
    policy.limits.reserved = keep_bytes;
  }
  settings.policies.push_back(std::move(policy));
  return absl::OkStatus();
}

absl::Status ReadOciWorker(const Value& value, Settings& settings) {
  DiskSpace keep_storage;
  Keys keys = {{"enabled", Flag(settings.oci_worker)},
               {"labels", TextMap(settings.engine.worker_labels)},
               {"platforms", Texts(settings.platforms)},
               {"snapshotter", Text(settings.snapshotter)},
               {"gc", Flag(settings.engine.gc)},
               {"gckeepstorage", Space(keep_storage)},
               {"reservedspace", Space(settings.limits.reserved)},
               {"maxusedspace", Space(settings.limits.max_used)},
               {"minfreespace", Space(settings.limits.min_free)},
               {"gcpolicy", Tables([&](const Value& policy) { return ReadPolicy(policy, settings); })},
               {"networkmode", Text(settings.network_mode)},
               {"cniconfigpath", Text(settings.cni.config_path)},
               {"cnibinarypath", Text(settings.cni.plugin_dir)},
               {"cnipoolsize", Number(settings.cni.pool_size)},
               {"bridgename", Text(settings.cni.bridge_name)},
               {"bridgesubnet", Text(settings.cni.bridge_subnet)},
               {"defaultcgroupparent", Text(settings.engine.cgroup_parent)},
               {"binary", Text(settings.engine.runtime.binary)},
               {"apparmor-profile", Text(settings.engine.runtime.apparmor_profile)},
               {"selinux", Flag(settings.engine.runtime.selinux)},
               {"max-parallelism", Number(settings.engine.max_parallelism)}};
  for (const char* key : {"rootless", "noprocesssandbox", "userremapunsupported", "proxysnapshotterpath", "stargzsnapshotter"}) {
    keys.emplace(key, Ignored(settings));
  }
  RETURN_IF_ERROR(ReadTable(value, keys));
  if (settings.limits.empty()) {
    settings.limits.reserved = keep_storage;
  }
  return absl::OkStatus();
}

absl::Status ReadContainerdWorker(const Value& value, Settings& settings) {
  Keys keys = {{"enabled", Flag(settings.containerd_worker)}};
  for (const char* key : {"address",          "labels",        "platforms",       "namespace",           "runtime",      "gc",
                          "gckeepstorage",    "reservedspace", "maxusedspace",    "minfreespace",        "gcpolicy",     "networkmode",
                          "cniconfigpath",    "cnibinarypath", "cnipoolsize",     "bridgename",          "bridgesubnet", "snapshotter",
                          "apparmor-profile", "selinux",       "max-parallelism", "defaultcgroupparent", "rootless"}) {
    keys.emplace(key, Ignored(settings));
  }
  return ReadTable(value, keys);
}

absl::Status ReadRegistries(const Value& value, Settings& settings) {
  const toml::table* table = value.node.as_table();
  if (table == nullptr) {
    return value.Error("is not a table");
  }
  for (const auto& [name, node] : *table) {
    registry::HostConfig& host = settings.engine.registries[std::string(name.str())];
    const auto read_pair = [&](const Value& pair) -> absl::Status {
      auto& [key, certificate] = host.key_pairs.emplace_back();
      return ReadTable(pair, {{"key", Text(key)}, {"cert", Text(certificate)}});
    };
    const Value entry{node, absl::StrCat(value.key, ".\"", std::string(name.str()), "\""), value.filename};
    RETURN_IF_ERROR(ReadTable(entry, {{"mirrors", Texts(host.mirrors)},
                                      {"http", Flag(host.plain_http)},
                                      {"insecure", Flag(host.insecure)},
                                      {"ca", Texts(host.root_cas)},
                                      {"keypair", Tables(read_pair)},
                                      {"tlsconfigdir", Ignored(settings)}}));
  }
  return absl::OkStatus();
}

Setter Grpc(Settings& settings) {
  ServerOptions& server = settings.server;
  return Table({{"address", Texts(server.addresses)},
                {"gid", Number(server.socket_gid)},
                {"uid", Ignored(settings)},
                {"debugaddress", Ignored(settings)},
                {"securitydescriptor", Ignored(settings)},
                {"tls", Table({{"cert", Text(server.tls_cert)}, {"key", Text(server.tls_key)}, {"ca", Text(server.tls_ca)}})}});
}

// In a table that is there at all, what is left out is zero.
Setter History(HistoryLimits& limits) {
  return [&limits](const Value& value) {
    limits = {0, absl::ZeroDuration()};
    return ReadTable(value, {{"maxage", Duration(limits.max_age)}, {"maxentries", Number(limits.max_entries)}});
  };
}

Keys TopLevel(Settings& settings) {
  const Setter ignored = Ignored(settings);
  const auto level_flag = [&settings](const char* level) -> Setter {
    return [&settings, level](const Value& value) {
      bool on = false;
      RETURN_IF_ERROR(Flag(on)(value));
      if (on) settings.log_level = level;
      return absl::OkStatus();
    };
  };
  runtime::Runtime::Config& runtime = settings.engine.runtime;
  build::FrontendRules& frontends = settings.engine.frontends;
  return {
      {"debug", level_flag("debug")},
      {"trace", level_flag("trace")},
      {"root", Text(settings.root)},
      {"insecure-entitlements", Texts(settings.entitlements)},
      {"proxynetwork", Flag(settings.engine.proxy_network)},
      {"log", Table({{"format", ignored}, {"level", Text(settings.log_level)}})},
      {"grpc", Grpc(settings)},
      {"otel", Table({{"socketpath", ignored}})},
      {"cdi", Table({{"disabled", Flag(settings.engine.cdi.disabled)},
                     {"specdirs", Texts(settings.engine.cdi.spec_dirs)},
                     {"autoallowed", Texts(settings.engine.cdi.auto_allowed)}})},
      {"worker", Table({{"oci", [&settings](const Value& value) { return ReadOciWorker(value, settings); }},
                        {"containerd", [&settings](const Value& value) { return ReadContainerdWorker(value, settings); }}})},
      {"registry", [&settings](const Value& value) { return ReadRegistries(value, settings); }},
      {"dns",
       Table({{"nameservers", Texts(runtime.dns_servers)}, {"options", Texts(runtime.dns_options)}, {"searchdomains", Texts(runtime.dns_search)}})},
      {"history", History(settings.server.history)},
      {"frontend", Table({{"dockerfile.v0", Table({{"enabled", Flag(frontends.dockerfile)}})},
                          {"gateway.v0", Table({{"enabled", Flag(frontends.images)}, {"allowedrepositories", Texts(frontends.allowed_images)}})}})},
      {"system", Table({{"platformscachemaxage", ignored}, {"maxregistryconcurrency", ignored}})},
      {"provenanceenvdir", Text(settings.engine.provenance_env_dir)},
      {"cache", Table({{"gha", ignored}})},
  };
}

}  // namespace

absl::Status ParseConfig(absl::string_view text, const std::string& filename, Settings& settings) {
  try {
    const toml::table document = toml::parse(std::string_view(text.data(), text.size()), filename);
    return ReadTable(Value{document, "", filename}, TopLevel(settings));
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(absl::StrCat(filename, ":", error.source().begin.line, ": ", std::string(error.description())));
  }
}

absl::Status LoadConfig(const std::string& filename, Settings& settings) {
  std::ifstream file(filename, std::ios::binary);
  if (!file) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoError(absl::StrCat("failed to load config from ", filename));
  }
  std::ostringstream text;
  text << file.rdbuf();
  return ParseConfig(text.str(), filename, settings);
}

}  // namespace cachalot::daemon
