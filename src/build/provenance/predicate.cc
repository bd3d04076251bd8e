#include "build/provenance/predicate.h"

#include <unordered_set>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "build/provenance/request_json.h"
#include "llb/describe.h"
#include "oci/descriptor_json.h"
#include "oci/go_json.h"
#include "oci/package_url.h"

namespace cachalot::build {
namespace {

using oci::Json;

constexpr char kBuildType[] = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
constexpr char kBuildTypeV02[] = "https://mobyproject.org/buildkit@v1";
constexpr int kIndent = 2;
// A detail of errors, in the form that it has on the wire.
constexpr char kIncompletePayload[] = "github.com/moby/buildkit/errdefs.ProvenanceMaterialsIncomplete+json";

absl::Status ParseFlag(const std::string& name, const std::string& value, bool& flag) {
  for (const char* text : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (value == text) return flag = true, absl::OkStatus();
  }
  for (const char* text : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (value == text) return flag = false, absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("failed to parse ", name, " flag \"", value, "\""));
}

absl::Status SetMode(const std::string& value, ProvenanceOptions& options) {
  if (value != "min" && value != "max" && value != "full") return absl::InvalidArgumentError(absl::StrCat("invalid mode \"", value, "\""));
  options.max = value != "min";
  return absl::OkStatus();
}

absl::Status SetVersion(const std::string& value, ProvenanceOptions& options) {
  if (value != "v1" && value != "v0.2") return absl::InvalidArgumentError(absl::StrCat("invalid provenance SLSA version: ", value));
  options.slsa_v1 = value == "v1";
  return absl::OkStatus();
}

Json DigestJson(const oci::Digest& digest) { return {{std::string(digest.algorithm()), std::string(digest.hex())}}; }

void AddMaterial(const std::string& uri, Json digest, Json& materials) {
  Json& entry = materials.emplace_back(Json::object());
  entry["uri"] = uri;
  if (!digest.empty()) entry["digest"] = std::move(digest);
}

Json DigestOrEmpty(const oci::Digest& digest) { return digest.empty() ? Json::object() : DigestJson(digest); }

absl::Status AddGitMaterial(const GitMaterial& git, Json& materials) {
  Json commit = Json::object();
  commit[git.commit.size() == 64 ? "sha256" : "sha1"] = git.commit;
  AddMaterial(git.url, std::move(commit), materials);
  const std::size_t scheme = git.bundle.find("://");
  const std::size_t at = git.bundle.rfind('@');
  if (scheme == std::string::npos || at == std::string::npos || at < scheme + 3) return absl::OkStatus();
  const absl::StatusOr<oci::Digest> digest = oci::Digest::Parse(git.bundle.substr(at + 1));
  if (!digest.ok()) return absl::OkStatus();
  const std::string type = absl::StartsWith(git.bundle, "oci-layout") ? "oci" : "docker";
  ASSIGN_OR_RETURN(const std::string uri, oci::PackageUrl(type, git.bundle.substr(scheme + 3, at - scheme - 3), std::nullopt,
                                                          {{"ref_type", "bundle"}, {"vcs_url", git.url}}));
  AddMaterial(uri, DigestJson(*digest), materials);
  return absl::OkStatus();
}

absl::StatusOr<Json> MaterialsJson(const Capture& capture) {
  Json out = Json::array();
  for (const ConsultedImage& image : capture.images) {
    ASSIGN_OR_RETURN(const std::string uri, oci::PackageUrl(image.local ? "oci" : "docker", image.ref, image.platform));
    AddMaterial(uri, DigestOrEmpty(image.digest), out);
  }
  for (const BlobMaterial& blob : capture.blobs) {
    ASSIGN_OR_RETURN(const std::string uri, oci::PackageUrl(blob.local ? "oci" : "docker", blob.ref, std::nullopt, {{"ref_type", "blob"}}));
    AddMaterial(uri, DigestOrEmpty(blob.digest), out);
  }
  for (const GitMaterial& git : capture.git) RETURN_IF_ERROR(AddGitMaterial(git, out));
  for (const HttpMaterial& http : capture.http) {
    const absl::StatusOr<oci::Digest> digest = oci::Digest::Parse(http.digest);
    AddMaterial(http.url, digest.ok() ? DigestJson(*digest) : Json::object(), out);
  }
  return out;
}

Json NeedsJson(const std::map<std::string, bool>& needs) {
  Json out = Json::array();
  for (const auto& [id, optional] : needs) {
    Json& need = out.emplace_back(Json::object());
    need["id"] = id;
    if (optional) need["optional"] = true;
  }
  return out;
}

// Arguments "vcs:..." describe the client's working copy; they are told apart from the others.
Json TakeVcs(Json& request) {
  Json vcs = Json::object();
  const auto args = request.find("args");
  if (args == request.end()) return vcs;
  Json kept = Json::object();
  for (auto it = args->begin(); it != args->end(); ++it) {
    if (!absl::StartsWith(it.key(), "vcs:")) {
      kept[it.key()] = *it;
      continue;
    }
    const std::string value = it->get<std::string>();
    if (!value.empty()) vcs[it.key().substr(4)] = it.key() == "vcs:source" ? RedactUrl(value) : value;
  }
  request.erase("args");
  if (!kept.empty()) request["args"] = std::move(kept);
  return vcs;
}

// What both versions of the format tell, before it is arranged.
struct Parts {
  Json materials, config_source, request, build_config, metadata;
  bool request_complete = false, materials_complete = false, hermetic = false;
};

Json GapsJson(const Capture& capture) {
  Json gaps = Json::array();
  for (const ProxyGap& gap : capture.proxy_gaps) {
    gaps.push_back(Json{{"op", gap.op}, {"name", gap.name}, {"method", gap.method}, {"uri", gap.url}, {"reason", gap.reason}});
  }
  return gaps;
}

Json ProxyJson(const Capture& capture) {
  Json network = {{"mode", "proxy"}};
  if (Json gaps = GapsJson(capture); !gaps.empty()) network["proxy"]["incomplete"] = std::move(gaps);
  return network;
}

// One sample, taken when the step had ended.
Json UsageJson(const op::StepUsage& usage) {
  const runtime::ResourceUsage& took = usage.resources;
  Json sample = {{"timestamp", oci::FormatGoTime(usage.ended)}};
  sample["cpuStat"] = {{"usageNanos", (took.cpu_user_us + took.cpu_system_us) * 1000},
                       {"userNanos", took.cpu_user_us * 1000},
                       {"systemNanos", took.cpu_system_us * 1000}};
  sample["memoryStat"] = {{"peak", took.memory_peak_bytes}};
  sample["ioStat"] = {{"readBytes", took.io_read_bytes}, {"writeBytes", took.io_write_bytes}};
  Json out = Json::object();
  out["samples"].push_back(std::move(sample));
  return out;
}

void AddUsages(const std::map<std::string, op::StepUsage>& usages, const llb::StepNumbers& numbers, Json& steps) {
  std::map<std::string, Json> by_step;
  for (const auto& [digest, usage] : usages) {
    if (const auto number = numbers.find(digest); number != numbers.end()) by_step[absl::StrCat("step", number->second)] = UsageJson(usage);
  }
  for (Json& step : steps) {
    if (const auto usage = by_step.find(step.at("id").get<std::string>()); usage != by_step.end()) step["resourceUsage"] = usage->second;
  }
}

absl::Status DescribeGraph(const ProvenanceOptions& options, const TreeProvenance& tree, const StepFacts& facts, Parts& parts) {
  const llb::Definition definition = llb::SaveDefinition(tree.edge);
  llb::StepNumbers numbers;
  Json steps = Json::array();
  RETURN_IF_ERROR(llb::DescribeSteps(definition, steps, numbers));
  if (options.capture_usage) AddUsages(facts.usages, numbers, steps);
  parts.build_config = Json::object();
  if (!steps.empty()) parts.build_config["llbDefinition"] = std::move(steps);
  if (!numbers.empty()) parts.build_config["digestMapping"] = llb::DigestMapping(numbers);
  Json sources;
  RETURN_IF_ERROR(llb::DescribeSources(definition, numbers, sources));
  if (!sources.is_null()) parts.metadata["source"] = std::move(sources);

  std::unordered_set<const llb::Vertex*> seen;
  std::vector<const llb::Vertex*> pending;
  if (tree.edge.vertex != nullptr) pending.push_back(tree.edge.vertex.get());
  Json chains = Json::object();
  while (!pending.empty()) {
    const llb::Vertex* vertex = pending.back();
    pending.pop_back();
    if (!seen.insert(vertex).second) continue;
    for (const llb::Edge& input : vertex->inputs) pending.push_back(input.vertex.get());
    for (int output = 0; output < vertex->OutputCount(); ++output) {
      Json chain = Json::array();
      for (const oci::Descriptor& layer : facts.layers(*vertex, output)) chain.push_back(oci::ToJson(layer));
      if (!chain.empty()) chains[absl::StrCat("step", numbers.at(vertex->digest.str()), ":", output)].push_back(std::move(chain));
    }
  }
  if (!chains.empty()) parts.metadata["layers"] = std::move(chains);
  return absl::OkStatus();
}

absl::StatusOr<Parts> Collect(const ProvenanceOptions& options, const BuildFacts& facts, const TreeProvenance& tree, const StepFacts& steps) {
  Parts parts;
  parts.metadata = Json::object();
  const Capture& capture = tree.capture;
  ASSIGN_OR_RETURN(parts.materials, MaterialsJson(capture));
  Json producer = ProducerJson(*tree.producer, capture, /*with_root=*/true);
  parts.config_source = std::move(producer["configSource"]);
  parts.request = std::move(producer["request"]);
  if (Json vcs = TakeVcs(parts.request); !vcs.empty()) parts.metadata["vcs"] = std::move(vcs);
  if (!capture.secrets.empty()) parts.request["secrets"] = NeedsJson(capture.secrets);
  if (!capture.ssh.empty()) parts.request["ssh"] = NeedsJson(capture.ssh);
  for (const std::string& local : capture.locals) parts.request["locals"].push_back(Json{{"name", local}});
  parts.request_complete = tree.producer->request().has_value() && !tree.producer->request()->frontend.empty();
  parts.materials_complete = CheckMaterials(capture).ok();
  parts.hermetic = parts.materials_complete && !capture.network_access;
  if (capture.proxied) parts.metadata["network"] = ProxyJson(capture);
  if (options.max) {
    RETURN_IF_ERROR(DescribeGraph(options, tree, steps, parts));
  } else if (ScrubRequest(parts.request)) {
    parts.request_complete = false;
  }
  parts.request["compatibilityVersion"] = facts.compatibility_version;
  return parts;
}

// What the daemon is and was told to say of itself.
absl::StatusOr<Json> EnvironmentJson(const BuildFacts& facts, const TreeProvenance& tree, const char* platform_name) {
  Json out = Json::object();
  out[platform_name] = facts.builder_platform;
  const auto& request = tree.producer->request();
  if (request.has_value() && request->frontend == "dockerfile.v0" && !facts.dockerfile_version.empty()) {
    out["dockerfileVersion"] = facts.dockerfile_version;
  }
  if (facts.custom_environment.empty()) return out;
  ASSIGN_OR_RETURN(const Json custom, oci::ParseJson(facts.custom_environment, "provenance environment"));
  for (auto it = custom.begin(); it != custom.end(); ++it) out[it.key()] = *it;
  return out;
}

Json ArrangeV1(const ProvenanceOptions& options, const BuildFacts& facts, Parts parts, Json environment, absl::Time finished) {
  Json definition = Json::object();
  definition["buildType"] = kBuildType;
  if (!parts.materials.empty()) definition["resolvedDependencies"] = std::move(parts.materials);
  definition["externalParameters"] = {{"configSource", std::move(parts.config_source)}, {"request", std::move(parts.request)}};
  Json& internal = definition["internalParameters"] = Json::object();
  if (!parts.build_config.is_null()) internal["buildConfig"] = std::move(parts.build_config);
  for (auto it = environment.begin(); it != environment.end(); ++it) internal[it.key()] = std::move(*it);

  Json metadata = Json::object();
  metadata["invocationId"] = facts.invocation_id;
  metadata["startedOn"] = oci::FormatGoTime(facts.started);
  metadata["finishedOn"] = oci::FormatGoTime(finished);
  metadata["buildkit_metadata"] = std::move(parts.metadata);
  if (parts.hermetic) metadata["buildkit_hermetic"] = true;
  metadata["buildkit_completeness"] = {{"request", parts.request_complete}, {"resolvedDependencies", parts.materials_complete}};
  if (options.reproducible) metadata["buildkit_reproducible"] = true;
  Json out = Json::object();
  out["buildDefinition"] = std::move(definition);
  out["runDetails"] = {{"builder", {{"id", options.builder_id}}}, {"metadata", std::move(metadata)}};
  return out;
}

Json ArrangeV02(const ProvenanceOptions& options, const BuildFacts& facts, Parts parts, Json environment, absl::Time finished) {
  if (const auto path = parts.config_source.find("path"); path != parts.config_source.end()) {
    parts.config_source["entryPoint"] = *path;
    parts.config_source.erase("path");
  }
  Json metadata = Json::object();
  metadata["buildInvocationID"] = facts.invocation_id;
  metadata["buildStartedOn"] = oci::FormatGoTime(facts.started);
  metadata["buildFinishedOn"] = oci::FormatGoTime(finished);
  metadata["completeness"] = {{"parameters", parts.request_complete}, {"environment", true}, {"materials", parts.materials_complete}};
  metadata["reproducible"] = options.reproducible;
  metadata["https://mobyproject.org/buildkit@v1#metadata"] = std::move(parts.metadata);
  if (parts.hermetic) metadata["https://mobyproject.org/buildkit@v1#hermetic"] = true;

  Json out = Json::object();
  out["builder"] = {{"id", options.builder_id}};
  out["buildType"] = kBuildTypeV02;
  if (!parts.materials.empty()) out["materials"] = std::move(parts.materials);
  out["invocation"] = {
      {"configSource", std::move(parts.config_source)}, {"parameters", std::move(parts.request)}, {"environment", std::move(environment)}};
  if (!parts.build_config.is_null()) out["buildConfig"] = std::move(parts.build_config);
  out["metadata"] = std::move(metadata);
  return out;
}

}  // namespace

absl::StatusOr<ProvenanceOptions> ParseProvenanceOptions(const std::map<std::string, std::string>& attrs) {
  ProvenanceOptions options;
  for (const auto& [name, value] : attrs) {
    if (name == "version") RETURN_IF_ERROR(SetVersion(value, options));
    if (name == "mode") RETURN_IF_ERROR(SetMode(value, options));
    if (name == "reproducible") RETURN_IF_ERROR(ParseFlag(name, value, options.reproducible));
    if (name == "complete-materials") RETURN_IF_ERROR(ParseFlag(name, value, options.complete_materials));
    if (name == "capture-usage") RETURN_IF_ERROR(ParseFlag(name, value, options.capture_usage));
    // What is no flag counts as "no" here.
    if (name == "inline-only") ParseFlag(name, value, options.inline_only).IgnoreError();
    if (name == "builder-id") options.builder_id = value;
    if (name == "filename") options.filename = value;
  }
  return options;
}

std::string PredicateType(const ProvenanceOptions& options) { return absl::StrCat("https://slsa.dev/provenance/", options.slsa_v1 ? "v1" : "v0.2"); }

absl::Status CheckMaterials(const Capture& capture) {
  if (!capture.incomplete && capture.locals.empty()) return absl::OkStatus();
  std::string text =
      "provenance materials are incomplete\n\nThe build requested complete provenance materials, but not all dependencies could be captured.";
  Json details = GapsJson(capture);
  if (!capture.locals.empty()) absl::StrAppend(&text, "\n\nUncaptured local sources:");
  for (const std::string& local : capture.locals) {
    absl::StrAppend(&text, "\n  - ", local.empty() ? "<unnamed>" : local, "\n    reason: local_source");
    details.push_back(Json{{"name", local}, {"reason", "local_source"}});
  }
  if (!capture.proxy_gaps.empty()) absl::StrAppend(&text, "\n\nUncaptured requests:");
  for (const ProxyGap& gap : capture.proxy_gaps) {
    absl::StrAppend(&text, "\n  - ", gap.name, "\n    method: ", gap.method, "\n    url: ", gap.url, "\n    reason: ", gap.reason);
  }
  absl::Status status = absl::FailedPreconditionError(text);
  status.SetPayload(kIncompletePayload, absl::Cord(oci::DumpGo(Json{{"incomplete", std::move(details)}})));
  return status;
}

absl::StatusOr<std::string> MakePredicate(const ProvenanceOptions& options, const BuildFacts& facts, const TreeProvenance& tree, absl::Time finished,
                                          const StepFacts& steps) {
  ASSIGN_OR_RETURN(Parts parts, Collect(options, facts, tree, steps));
  ASSIGN_OR_RETURN(Json environment, EnvironmentJson(facts, tree, options.slsa_v1 ? "builderPlatform" : "platform"));
  const Json predicate = options.slsa_v1 ? ArrangeV1(options, facts, std::move(parts), std::move(environment), finished)
                                         : ArrangeV02(options, facts, std::move(parts), std::move(environment), finished);
  return oci::DumpGo(predicate, kIndent);
}

}  // namespace cachalot::build
