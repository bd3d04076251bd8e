#include "client/build_options.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "build/attest.h"
#include "daemon/config_values.h"
#include "oci/platform.h"
#include "oci/reference.h"

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

// "type=KIND,name=value,..."; `flag` is how the user wrote it.
absl::Status AddAttestation(const std::string& flag, const std::string& text, Attrs& attrs) {
  ASSIGN_OR_RETURN(const auto fields, ParseFields(text));
  std::string type;
  bool disabled = false;
  std::vector<std::string> rest;
  for (const Field& field : fields) {
    if (!field.value.has_value())
      return absl::InvalidArgumentError(absl::StrCat("invalid value \"", field.key, "\" in ", flag, ": expected name=value"));
    if (field.key == "type") {
      type = *field.value;
    } else if (field.key == "disabled") {
      if (!absl::SimpleAtob(*field.value, &disabled)) {
        return absl::InvalidArgumentError(absl::StrCat("invalid value \"", *field.value, "\" of disabled in ", flag));
      }
    } else {
      rest.push_back(absl::StrCat(field.key, "=", *field.value));
    }
  }
  if (type.empty()) return absl::InvalidArgumentError(absl::StrCat("attestation type not specified: ", flag));
  if (!disabled) attrs[absl::StrCat("attest:", type)] = absl::StrJoin(rest, ",");
  return absl::OkStatus();
}

// --provenance and --sbom are true, false or attributes; --attest has them in full.
absl::Status AddAttestations(const BuildOptions& options, Attrs& attrs) {
  const auto add = [&attrs](const std::string& type, const std::string& value) {
    const std::string flag = absl::StrCat("--", type, "=", value);
    bool wanted = false;
    if (absl::SimpleAtob(value, &wanted)) return AddAttestation(flag, absl::StrCat("type=", type, ",disabled=", wanted ? "false" : "true"), attrs);
    return AddAttestation(flag, absl::StrCat("type=", type, ",", value), attrs);
  };
  if (options.provenance.has_value()) RETURN_IF_ERROR(add("provenance", *options.provenance));
  if (options.sbom.has_value()) RETURN_IF_ERROR(add("sbom", *options.sbom));
  for (const std::string& text : options.attestations) {
    RETURN_IF_ERROR(AddAttestation(absl::StrCat("--attest=", text), text, attrs));
  }
  // The daemon would say the same, after the build.
  return build::ParseAttestRequest({attrs.begin(), attrs.end()}).status();
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

bool IsImage(const OutputSpec& output) { return output.type == "image" || output.type == "oci" || output.type == "docker"; }

absl::Status CheckTag(const std::string& tag) {
  const absl::StatusOr<oci::Reference> reference = oci::Reference::ParseNormalized(tag);
  if (!reference.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("invalid tag \"", tag, "\": ", std::string(reference.status().message())));
  }
  if (!reference->digest.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("invalid tag \"", tag, "\": refusing to create a tag with a digest reference"));
  }
  return absl::OkStatus();
}

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
      const Pair option = SplitPair(part);
      if (option.name != "raw" || !option.value.has_value()) {
        if (!part.empty()) agent.paths.push_back(part);
      } else if (!absl::SimpleAtob(*option.value, &agent.raw)) {
        return absl::InvalidArgumentError(absl::StrCat("invalid value \"", *option.value, "\" of raw in --ssh ", text));
      }
    }
  }
  return agent;
}

// Types, each with a platform perhaps, in front of the name: "manifest[linux/amd64],index:name=value".
absl::StatusOr<std::map<std::string, std::string>> ParseAnnotation(const std::string& text) {
  const Pair pair = SplitPair(text);
  if (pair.name.empty() || !pair.value.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("invalid annotation \"", text, "\", expected key=value"));
  }
  const std::size_t colon = pair.name.find(':');
  if (colon == std::string::npos) return std::map<std::string, std::string>{{absl::StrCat("annotation.", pair.name), *pair.value}};
  const std::string name = pair.name.substr(colon + 1);
  if (name.empty()) return absl::InvalidArgumentError(absl::StrCat("invalid annotation \"", text, "\", expected key=value"));
  std::map<std::string, std::string> attrs;
  for (const absl::string_view place : absl::StrSplit(absl::string_view(pair.name).substr(0, colon), ',')) {
    const std::size_t bracket = place.find('[');
    const absl::string_view type = place.substr(0, bracket);
    if (type != "index" && type != "index-descriptor" && type != "manifest" && type != "manifest-descriptor") {
      return absl::InvalidArgumentError(absl::StrCat("unknown annotation type \"", type, "\" in --annotation ", text));
    }
    if (bracket != absl::string_view::npos) {
      if (place.back() != ']') return absl::InvalidArgumentError(absl::StrCat("invalid annotation type \"", place, "\": the bracket is not closed"));
      RETURN_IF_ERROR(oci::ParsePlatform(place.substr(bracket + 1, place.size() - bracket - 2)).status());
    }
    attrs[absl::StrCat("annotation-", place, ".", name)] = *pair.value;
  }
  return attrs;
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
    const bool taken = std::any_of(outputs.begin(), outputs.end(), [&](const OutputSpec& other) { return other.dest == output.dest; });
    if (taken && !output.dest.empty() && output.type != "local") {
      return absl::InvalidArgumentError(absl::StrCat("two outputs have the same destination \"", output.dest, "\""));
    }
    if (output.type != "cacheonly") outputs.push_back(std::move(output));
  }
  if (options.push) {
    if (std::none_of(outputs.begin(), outputs.end(), MayPush)) outputs.push_back({"image", {}, ""});
    for (OutputSpec& output : outputs) {
      if (MayPush(output)) output.attrs["push"] = "true";
    }
  }
  if (options.load) {
    outputs.push_back({"docker", {}, ""});
  }
  if (outputs.empty() && options.outputs.empty() && !options.tags.empty()) {
    outputs.push_back({"image", {}, ""});
  }
  for (const std::string& tag : options.tags) {
    RETURN_IF_ERROR(CheckTag(tag));
  }
  std::map<std::string, std::string> annotations;
  for (const std::string& text : options.annotations) {
    ASSIGN_OR_RETURN(const auto parsed, ParseAnnotation(text));
    annotations.insert(parsed.begin(), parsed.end());
  }
  for (OutputSpec& output : outputs) {
    if (IsImage(output) && !options.tags.empty()) output.attrs.emplace("name", absl::StrJoin(options.tags, ","));
    if (ValueOf(output.attrs, "push") == "true" && ValueOf(output.attrs, "name").empty()) {
      return absl::InvalidArgumentError("tag is needed when pushing to registry");
    }
    if (output.type != "image" && output.type != "oci") continue;
    for (const auto& [name, value] : annotations) output.attrs[name] = value;
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
  const std::string platforms = absl::StrJoin(options.platforms, ",");
  for (const absl::string_view platform : absl::StrSplit(platforms, ',', absl::SkipEmpty())) {
    RETURN_IF_ERROR(oci::ParsePlatform(platform).status());
  }
  if (!platforms.empty()) attrs["platform"] = platforms;
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
