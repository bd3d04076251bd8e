#include "client/build_options.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "daemon/config_values.h"

namespace cachalot::client {

namespace {

namespace control = moby::buildkit::v1;
using Attrs = google::protobuf::Map<std::string, std::string>;

// Comma separated, a field may be quoted: "a,b" with "" for a quote.
absl::StatusOr<std::vector<std::string>> SplitCsv(const std::string& text) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      fields.back().push_back('"');
      ++i;
    } else if (c == '"' && (quoted || fields.back().empty())) {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back().push_back(c);
    }
  }
  if (quoted) {
    return absl::InvalidArgumentError(absl::StrCat("unfinished quote in ", text));
  }
  return fields;
}

struct Pair {
  std::string name;
  std::optional<std::string> value;
};
Pair SplitPair(const std::string& text) {
  const std::size_t equal = text.find('=');
  if (equal == std::string::npos) {
    return {text, std::nullopt};
  }
  return {text.substr(0, equal), text.substr(equal + 1)};
}

absl::Status AddBuildArgs(const BuildOptions& options, Attrs& attrs) {
  for (const std::string& argument : options.build_args) {
    Pair pair = SplitPair(argument);
    if (pair.name.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("invalid build argument \"", argument, "\": expected name=value"));
    }
    if (!pair.value.has_value()) {
      const char* value = std::getenv(pair.name.c_str());
      if (value == nullptr) continue;  // a name without value is passed on only when the environment has it
      pair.value = value;
    }
    attrs[absl::StrCat("build-arg:", pair.name)] = *pair.value;
  }
  return absl::OkStatus();
}

absl::Status AddHosts(const BuildOptions& options, Attrs& attrs) {
  std::vector<std::string> hosts;
  for (const std::string& text : options.add_hosts) {
    const std::size_t separator = text.find_first_of("=:");
    if (separator == std::string::npos || separator == 0 || separator + 1 == text.size()) {
      return absl::InvalidArgumentError(absl::StrCat("invalid host ", text, ": expected name:address"));
    }
    std::string ip = text.substr(separator + 1);
    if (ip.size() > 2 && ip.front() == '[' && ip.back() == ']') ip = ip.substr(1, ip.size() - 2);
    hosts.push_back(absl::StrCat(text.substr(0, separator), "=", ip));
  }
  if (!hosts.empty()) attrs["add-hosts"] = absl::StrJoin(hosts, ",");
  return absl::OkStatus();
}

absl::Status AddLimits(const BuildOptions& options, control::SolveRequest& request) {
  Attrs& attrs = *request.mutable_frontendattrs();
  if (!options.shm_size.empty()) {
    ASSIGN_OR_RETURN(const std::int64_t bytes, ParseSize(options.shm_size));
    attrs["shm-size"] = absl::StrCat(bytes);
  }
  if (!options.ulimits.empty()) attrs["ulimit"] = absl::StrJoin(options.ulimits, ",");
  if (!options.cgroup_parent.empty()) attrs["cgroup-parent"] = options.cgroup_parent;
  if (options.network == "host" || options.network == "none") {
    attrs["force-network-mode"] = options.network;
    if (options.network == "host") request.add_entitlements("network.host");
  } else if (!options.network.empty() && options.network != "default") {
    return absl::InvalidArgumentError(absl::StrCat("network mode \"", options.network, "\" not supported: default, host and none are"));
  }
  for (const std::string& entitlement : options.allow) {
    request.add_entitlements(entitlement);
  }
  return absl::OkStatus();
}

void AddCaching(const BuildOptions& options, Attrs& attrs) {
  if (options.no_cache) {
    attrs["no-cache"] = "";
  } else if (!options.no_cache_filter.empty()) {
    attrs["no-cache"] = absl::StrJoin(options.no_cache_filter, ",");
  }
  if (options.pull) attrs["image-resolve-mode"] = "pull";
}

// --provenance and --sbom are true, false or attributes; --attest has them in full.
absl::Status AddAttestations(const BuildOptions& options, Attrs& attrs) {
  const auto add = [&](const std::string& type, const std::string& value) {
    if (value == "false" || value == "0") return;
    attrs[absl::StrCat("attest:", type)] = value == "true" || value == "1" ? "" : value;
  };
  if (options.provenance.has_value()) add("provenance", *options.provenance);
  if (options.sbom.has_value()) add("sbom", *options.sbom);
  for (const std::string& text : options.attestations) {
    ASSIGN_OR_RETURN(const auto fields, ParseFields(text));
    std::string type;
    std::vector<std::string> rest;
    for (const Field& field : fields) {
      if (field.key == "type") {
        type = field.value.value_or("");
      } else {
        rest.push_back(absl::StrCat(field.key, "=", field.value.value_or("")));
      }
    }
    if (type.empty()) return absl::InvalidArgumentError(absl::StrCat("attestation type not specified: ", text));
    attrs[absl::StrCat("attest:", type)] = absl::StrJoin(rest, ",");
  }
  return absl::OkStatus();
}

absl::Status AddCaches(const std::vector<std::string>& texts, google::protobuf::RepeatedPtrField<control::CacheOptionsEntry>& entries) {
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(auto cache, ParseCache(text));
    auto* entry = entries.Add();
    entry->set_type(cache.first);
    entry->mutable_attrs()->insert(cache.second.begin(), cache.second.end());
  }
  return absl::OkStatus();
}

bool MayPush(const OutputSpec& output) { return output.type == "image"; }

}  // namespace

absl::StatusOr<std::vector<Field>> ParseFields(const std::string& text) {
  ASSIGN_OR_RETURN(const auto parts, SplitCsv(text));
  std::vector<Field> fields;
  for (const std::string& part : parts) {
    Pair pair = SplitPair(part);
    fields.push_back({absl::AsciiStrToLower(absl::StripAsciiWhitespace(pair.name)), std::move(pair.value)});
  }
  return fields;
}

absl::StatusOr<OutputSpec> ParseOutput(const std::string& text) {
  OutputSpec output;
  ASSIGN_OR_RETURN(const auto fields, ParseFields(text));
  if (fields.size() == 1 && !fields[0].value.has_value()) {
    output.type = text == "-" ? "tar" : "local";
    output.dest = text;
    return output;
  }
  for (const Field& field : fields) {
    if (!field.value.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("invalid value ", field.key, " in --output ", text));
    }
    if (field.key == "type") {
      output.type = *field.value;
    } else if (field.key == "dest") {
      output.dest = *field.value;
    } else {
      output.attrs[field.key] = *field.value;
    }
  }
  if (output.type == "registry") {
    output.type = "image";
    output.attrs.emplace("push", "true");
  }
  if (output.type.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("type is required for output: ", text));
  }
  if (output.dest.empty() && (output.type == "local" || output.type == "tar" || output.type == "oci")) {
    if (output.type == "local") return absl::InvalidArgumentError(absl::StrCat("dest is required for local output: ", text));
    output.dest = "-";
  }
  return output;
}

absl::StatusOr<std::pair<std::string, std::map<std::string, std::string>>> ParseCache(const std::string& text) {
  std::pair<std::string, std::map<std::string, std::string>> cache;
  ASSIGN_OR_RETURN(const auto fields, ParseFields(text));
  if (fields.size() == 1 && !fields[0].value.has_value()) {
    cache = {"registry", {{"ref", text}}};
    return cache;
  }
  for (const Field& field : fields) {
    if (!field.value.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("invalid value ", field.key, " in cache option ", text));
    }
    if (field.key == "type") {
      cache.first = *field.value;
    } else {
      cache.second[field.key] = *field.value;
    }
  }
  if (cache.first.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("type required in cache option ", text));
  }
  return cache;
}

absl::StatusOr<SecretSource> ParseSecret(const std::string& text) {
  SecretSource secret;
  std::string type;
  ASSIGN_OR_RETURN(const auto fields, ParseFields(text));
  for (const Field& field : fields) {
    if (!field.value.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("invalid field '", field.key, "' must be a key=value pair"));
    }
    if (field.key == "id") {
      secret.id = *field.value;
    } else if (field.key == "src" || field.key == "source") {
      secret.file = *field.value;
    } else if (field.key == "env") {
      secret.env = *field.value;
    } else if (field.key == "type") {
      type = *field.value;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("unexpected key '", field.key, "' in --secret"));
    }
  }
  if (!type.empty() && type != "file" && type != "env") {
    return absl::InvalidArgumentError(absl::StrCat("unsupported secret type \"", type, "\""));
  }
  if (type == "env" && secret.env.empty()) {
    secret.env = std::exchange(secret.file, "");
  }
  return secret;
}

absl::StatusOr<SshAgent> ParseSsh(const std::string& text) {
  SshAgent agent;
  const Pair pair = SplitPair(text);
  agent.id = pair.name.empty() ? "default" : pair.name;
  if (pair.value.has_value()) {
    ASSIGN_OR_RETURN(const auto parts, SplitCsv(*pair.value));
    for (const std::string& part : parts) {
      if (part == "raw=true") {
        agent.raw = true;
      } else if (part != "raw=false") {
        agent.socket = part;
      }
    }
  }
  return agent;
}

absl::StatusOr<std::int64_t> ParseSize(const std::string& text) {
  const auto space = daemon::ParseDiskSpace(text);
  if (!space.ok() || space->percentage != 0) {
    return absl::InvalidArgumentError(absl::StrCat("invalid size: '", text, "'"));
  }
  return space->bytes;
}

absl::StatusOr<std::vector<OutputSpec>> CollectOutputs(const BuildOptions& options) {
  std::vector<OutputSpec> outputs;
  for (const std::string& text : options.outputs) {
    ASSIGN_OR_RETURN(OutputSpec output, ParseOutput(text));
    outputs.push_back(std::move(output));
  }
  if (options.push) {
    bool found = false;
    for (OutputSpec& output : outputs) {
      if (MayPush(output)) {
        output.attrs["push"] = "true";
        found = true;
      }
    }
    if (!found) outputs.push_back({"image", {{"push", "true"}}, ""});
  }
  if (options.load) {
    outputs.push_back({"docker", {}, ""});
  }
  if (outputs.empty() && !options.tags.empty()) {
    outputs.push_back({"image", {}, ""});
  }
  for (OutputSpec& output : outputs) {
    const bool named = output.type == "image" || output.type == "oci" || output.type == "docker";
    if (named && !options.tags.empty()) output.attrs.emplace("name", absl::StrJoin(options.tags, ","));
    if (output.attrs.count("push") > 0 && output.attrs["push"] == "true" && output.attrs.count("name") == 0) {
      return absl::InvalidArgumentError("tag is needed when pushing to registry");
    }
    if (output.type == "image" || output.type == "oci") {
      for (const std::string& annotation : options.annotations) {
        const Pair pair = SplitPair(annotation);
        const std::size_t colon = pair.name.find(':');
        const bool typed = colon != std::string::npos;
        output.attrs[absl::StrCat("annotation", typed ? "-" : "", typed ? pair.name.substr(0, colon) : "", ".",
                                  typed ? pair.name.substr(colon + 1) : pair.name)] = pair.value.value_or("");
      }
    }
  }
  return outputs;
}

absl::StatusOr<control::SolveRequest> MakeRequest(const BuildOptions& options, const std::vector<OutputSpec>& outputs) {
  control::SolveRequest request;
  request.set_frontend("dockerfile.v0");
  Attrs& attrs = *request.mutable_frontendattrs();
  if (!options.target.empty()) attrs["target"] = options.target;
  RETURN_IF_ERROR(AddBuildArgs(options, attrs));
  for (const std::string& label : options.labels) {
    const Pair pair = SplitPair(label);
    attrs[absl::StrCat("label:", pair.name)] = pair.value.value_or("");
  }
  if (!options.platforms.empty()) attrs["platform"] = absl::StrJoin(options.platforms, ",");
  AddCaching(options, attrs);
  RETURN_IF_ERROR(AddHosts(options, attrs));
  RETURN_IF_ERROR(AddLimits(options, request));
  RETURN_IF_ERROR(AddAttestations(options, attrs));
  RETURN_IF_ERROR(AddCaches(options.cache_from, *request.mutable_cache()->mutable_imports()));
  RETURN_IF_ERROR(AddCaches(options.cache_to, *request.mutable_cache()->mutable_exports()));
  for (const OutputSpec& output : outputs) {
    auto* exporter = request.add_exporters();
    exporter->set_type(output.type);
    exporter->mutable_attrs()->insert(output.attrs.begin(), output.attrs.end());
  }
  return request;
}

}  // namespace cachalot::client
