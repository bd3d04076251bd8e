#include "build/build_run.h"

#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/worker_pool.h"
#include "build/bridge.h"
#include "build/cache_exports.h"
#include "build/export_source.h"
#include "build/platform_check.h"
#include "dockerfile/frontend.h"
#include "export/attestation.h"
#include "export/exporter.h"
#include "oci/digest.h"
#include "op/git/git_refs.h"
#include "op/http_resource.h"
#include "op/image_resolver.h"
#include "op/kept_trees.h"
#include "op/layer_fetcher.h"
#include "op/proxy/proxy_use.h"

namespace cachalot::build {
namespace {

constexpr absl::Duration kSessionPatience = absl::Seconds(5);
constexpr int kClosed = -1;       // for nested solves: none may begin any more
constexpr int kMaxNested = 4096;  // each has a thread that waits for it

// What BuildKit has, so that a typing error can be told from what is missing here.
bool IsCacheType(const std::string& type) {
  static const std::set<std::string> kTypes = {"registry", "local", "inline", "gha", "s3", "azblob"};
  return kTypes.count(type) > 0;
}

// The client has no exporters to choose, or does not care how it ended.
bool OffersNothing(const absl::Status& status) { return absl::IsUnavailable(status) || absl::IsUnimplemented(status); }

absl::StatusOr<solver::ResultPtr> SolveNested(std::shared_ptr<BuildCore> core, const llb::Definition& definition, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(llb::Edge edge, llb::LoadDefinition(definition));
  ASSIGN_OR_RETURN(const llb::RefPtr ref, core->NewRef(std::move(edge)));
  absl::StatusOr<solver::ResultPtr> result = core->Solve(ref, cancel);
  core.reset();
  return result;
}

// What the build's policies make of a request that a step sends to the network.
absl::StatusOr<std::string> CheckRequest(const std::shared_ptr<BuildCore>& core, const std::string& method, const std::string& url) {
  llb::SourceOp source{url, {}};
  Bridge metadata(core, nullptr, Bridge::Policies::kRules);
  RETURN_IF_ERROR(core->policy().Apply(source, std::nullopt, {}, metadata, core->cancel()));
  if (source.identifier == url && source.attrs.empty()) return url;
  const bool http = absl::StartsWith(source.identifier, "http://") || absl::StartsWith(source.identifier, "https://");
  if (method == "GET" && source.attrs.empty() && http) return source.identifier;
  return absl::InvalidArgumentError(
      absl::StrCat("source policy converted the request ", method, " ", url, " to something other than a GET of a URL"));
}

// Does `work`, which uses the build's core, for a thread that is not the build's: the build waits for it, so that it is never the last
// to hold the core.
template <typename T, typename Work>
absl::StatusOr<T> Nested(Guarded<int>& nested, const Work& work) {
  {
    auto count = nested.Lock();
    if (*count == kClosed) return absl::CancelledError("the build has ended");
    if (*count == kMaxNested) return absl::ResourceExhaustedError(absl::StrCat("more than ", kMaxNested, " nested solves at once"));
    ++*count;
  }
  absl::StatusOr<T> result = [&] {
    const WorkerPool::Waiting waiting;
    return work();
  }();
  --*nested.Lock();
  nested.NotifyAll();
  return result;
}

}  // namespace

BuildRun::~BuildRun() {
  if (gateway_ != nullptr) gateway_->Close();
  if (kept_trees_ != nullptr) kept_trees_->Close();
  // So that no worker of the solver is the last to hold the build's job.
  auto nested = nested_->Lock();
  nested.Wait([](int count) { return count == 0; });
  *nested = kClosed;
}

absl::Status BuildRun::Check() {
  if (request_.compatibility_version != 0) RETURN_IF_ERROR(exporting::CheckCompatibilityVersion(request_.compatibility_version));
  ASSIGN_OR_RETURN(attest_, ParseAttestRequest(request_.options));
  for (const ExportRequest& request : request_.exports) {
    RETURN_IF_ERROR(exporting::CheckExport(request.type, request.attrs));
  }
  for (const ExportRequest& request : request_.cache_imports) {
    if (!IsCacheType(request.type)) return absl::InvalidArgumentError(absl::StrCat("unknown cache importer: ", request.type));
  }
  for (const ExportRequest& request : request_.cache_exports) {
    if (!IsCacheType(request.type)) return absl::InvalidArgumentError(absl::StrCat("unknown cache exporter: \"", request.type, "\""));
  }
  RETURN_IF_ERROR(CheckCacheExports(request_.cache_exports));
  if (request_.definition.empty() || request_.frontend.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("cannot solve with both Definition and Frontend specified");
}

absl::Status BuildRun::Prepare() {
  facts_.invocation_id = RandomId();
  facts_.started = parts_.clock->Now();
  facts_.builder_platform = oci::FormatPlatform(oci::HostPlatform());
  facts_.dockerfile_version = dockerfile::kVersion;
  facts_.compatibility_version = request_.compatibility_version == 0 ? exporting::kCompatibilityCurrent : request_.compatibility_version;
  facts_.custom_environment = config_.provenance_environment;
  ASSIGN_OR_RETURN(entitlements_, Entitlements::Grant(request_.entitlements, config_.insecure_entitlements));
  auto environment = std::make_shared<op::Environment>();
  environment->parts = parts_;
  environment->build_ref = request_.ref;
  if (!request_.session.empty()) {
    ASSIGN_OR_RETURN(environment->session, parts_.sessions->Find(request_.session, kSessionPatience, cancel_));
  }
  const std::shared_ptr<registry::Credentials> credentials = environment->session == nullptr ? nullptr : environment->session->credentials();
  environment->progress = progress_;
  if (request_.definition.empty()) environment->kept_trees = kept_trees_ = std::make_shared<op::KeptTrees>();
  environment->images = std::make_shared<op::ImageResolver>(parts_.registry, parts_.blobs, credentials);
  environment->layers = std::make_shared<op::LayerFetcher>(parts_.registry, parts_.clock, credentials, progress_);
  environment->cgroup_parent = config_.cgroup_parent;
  environment->git_refs = std::make_shared<op::GitRefs>();
  environment->web = std::make_shared<op::HttpResources>();
  environment->platform = config_.platforms.empty() ? oci::HostPlatform() : config_.platforms.front();
  // The core owns the environment: a strong pointer back would keep both forever.
  auto core = std::make_shared<std::weak_ptr<BuildCore>>();
  environment->solve_nested = [core, nested = nested_](const llb::Definition& definition, const CancelToken& cancel) {
    return Nested<solver::ResultPtr>(*nested, [&] { return SolveNested(core->lock(), definition, cancel); });
  };
  auto policy = std::make_unique<SourcePolicy>(request_.source_policies, request_.source_verifier);
  if (config_.proxy_network || request_.proxy_network) environment->proxy = std::make_shared<op::ProxyUse>();
  if (environment->proxy != nullptr && !policy->empty({})) {
    environment->proxy->check = [core, nested = nested_](const std::string& method, const std::string& url) {
      return Nested<std::string>(*nested, [&] { return CheckRequest(core->lock(), method, url); });
    };
  }
  core_ = std::make_shared<BuildCore>(std::move(environment), entitlements_, std::move(policy), solver_, frontends_, cancel_);
  *core = core_;
  for (const ExportRequest& request : request_.cache_imports) core_->cache().Import(request.type, request.attrs);
  return absl::OkStatus();
}

std::vector<remotecache::ExportedOutput> BuildRun::OutputsOf(const llb::FrontendResult& result) {
  std::vector<remotecache::ExportedOutput> outputs;
  for (const llb::RefPtr& ref : AllRefsOf(result)) {
    if (std::optional<remotecache::ExportedOutput> output = core_->OutputOf(ref); output.has_value()) outputs.push_back(*std::move(output));
  }
  return outputs;
}

absl::StatusOr<llb::FrontendResult> BuildRun::Evaluate(const std::function<void(std::shared_ptr<Gateway>)>& on_gateway) {
  if (request_.frontend.empty() && request_.definition.empty() && !request_.scratch_definition) {
    gateway_ = std::make_shared<Gateway>(core_, trace_, request_.inputs);
    on_gateway(gateway_);
    return gateway_->Wait(cancel_);
  }
  llb::SolveRequest request;
  request.definition = request_.definition;
  request.frontend = request_.frontend;
  request.options = request_.options;
  request.inputs = request_.inputs;
  return Bridge(core_, trace_).Solve(request);
}

absl::StatusOr<exporting::Source> BuildRun::SolveForExport(const llb::FrontendResult& result) {
  if (!request_.exports.empty() || request_.session_exporter) return MakeExportSource(*core_, result);
  ASSIGN_OR_RETURN(exporting::Source source, DescribeResult(result, core_->environment()->platform));
  RETURN_IF_ERROR(SolveResult(*core_, result));
  return source;
}

std::vector<std::string> BuildRun::ExportedRefs(const llb::FrontendResult& result) {
  std::vector<std::string> ids;
  if (gateway_ == nullptr) return ids;
  if (result.ref != nullptr) ids.push_back(gateway_->Keep(result.ref));
  for (const auto& [platform, ref] : result.refs) ids.push_back(gateway_->Keep(ref));
  return ids;
}

absl::StatusOr<std::vector<ExportRequest>> BuildRun::ChooseExports(const exporting::Source& source, const std::vector<std::string>& refs) {
  std::vector<ExportRequest> exports = request_.exports;
  const session::SessionPtr& session = core_->environment()->session;
  if (!request_.session_exporter || session == nullptr) return exports;
  const absl::StatusOr<std::vector<session::ExporterRequest>> found = session->FindExporters(source.metadata, refs, cancel_);
  if (!found.ok()) return OffersNothing(found.status()) ? absl::StatusOr<std::vector<ExportRequest>>(exports) : found.status();
  for (const session::ExporterRequest& exporter : *found) {
    RETURN_IF_ERROR(exporting::CheckExport(exporter.type, exporter.attrs));
    exports.push_back({exporter.type, exporter.attrs});
  }
  return exports;
}

absl::Status BuildRun::NoteResult(int exporter, const std::map<std::string, std::string>& exported, BuildResponse& response) {
  const auto encoded = exported.find("containerimage.descriptor");
  std::string json;
  if (encoded == exported.end() || !absl::Base64Unescape(encoded->second, &json)) return absl::OkStatus();
  ASSIGN_OR_RETURN(oci::Descriptor descriptor, oci::ParseDescriptor(json));
  response.blob_pins.push_back(parts_.blobs->Pin(descriptor.digest));
  response.results[exporter] = std::move(descriptor);
  return absl::OkStatus();
}

absl::Status BuildRun::Export(const exporting::Source& source, const std::vector<std::string>& refs, BuildResponse& response) {
  ASSIGN_OR_RETURN(const std::vector<ExportRequest> exports, ChooseExports(source, refs));
  if (exports.empty()) ShowWarnings();
  const op::Environment& environment = *core_->environment();
  for (std::size_t i = 0; i < exports.size(); ++i) {
    exporting::Context context{
        parts_.snapshots, environment.layers.get(), parts_.blobs, parts_.registry, environment.session, static_cast<int>(i), progress_, parts_.clock,
        cancel_};
    context.compatibility_version = facts_.compatibility_version;
    if (i == 0) context.warnings = warnings_;
    ASSIGN_OR_RETURN(const auto exported, exporting::Export(exports[i].type, exports[i].attrs, source, context));
    for (const auto& [key, value] : exported) response.exporter_response[key] = value;
    RETURN_IF_ERROR(NoteResult(static_cast<int>(i), exported, response));
  }
  return absl::OkStatus();
}

absl::StatusOr<BuildResponse> BuildRun::Finish(llb::FrontendResult result) {
  if (attest_.sbom.has_value()) {
    // Without the trace: scanners are no part of what they look at.
    Bridge scanning(core_, nullptr);
    RETURN_IF_ERROR(AddSbom(*attest_.sbom, request_.options, scanning, result));
  }
  ASSIGN_OR_RETURN(exporting::Source source, SolveForExport(result));
  ASSIGN_OR_RETURN(const auto trees, TraceTrees(*core_, *trace_, result, source));
  if (attest_.provenance.has_value()) RETURN_IF_ERROR(AddProvenance(*attest_.provenance, facts_, core_, trees, source));
  warnings_ = PlatformWarnings(request_.options, result, source);
  if (WantsInlineCache(request_.cache_exports)) AddInlineCaches(result, *core_, source);
  BuildResponse response;
  RETURN_IF_ERROR(Export(source, ExportedRefs(result), response));
  // After the exporters: blobs that these made need not be made again.
  ASSIGN_OR_RETURN(const auto cached, RunCacheExports(request_.cache_exports, OutputsOf(result), core_->cache(), *core_->environment(), cancel_));
  response.exporter_response.insert(cached.begin(), cached.end());
  response.metadata = source.metadata;
  if (!request_.internal) RETURN_IF_ERROR(NoteProvenance(trees, source, response));
  for (const auto& [key, value] : result.metadata) {
    if (absl::StartsWith(key, "frontend.")) response.exporter_response[key] = value;
  }
  const session::SessionPtr& session = core_->environment()->session;
  if (request_.session_exporter && session != nullptr) {
    const absl::Status status = session->FinalizeExport(response.exporter_response, cancel_);
    if (!status.ok() && !OffersNothing(status)) return status;
  }
  return response;
}

absl::Status BuildRun::NoteProvenance(const std::map<std::size_t, TreeProvenance>& trees, const exporting::Source& source, BuildResponse& response) {
  ProvenanceOptions options;
  options.capture_usage = true;
  if (attest_.provenance.has_value()) options.builder_id = attest_.provenance->builder_id;
  for (const auto& [index, tree] : trees) {
    ASSIGN_OR_RETURN(const std::string predicate, DescribeTree(options, facts_, *core_, tree, /*with_layers=*/false));
    oci::Descriptor descriptor;
    descriptor.media_type = exporting::kStatementMediaType;
    descriptor.digest = oci::Digest::Of(predicate);
    descriptor.size = static_cast<std::int64_t>(predicate.size());
    descriptor.annotations["in-toto.io/predicate-type"] = PredicateType(options);
    response.blob_pins.push_back(parts_.blobs->Pin(descriptor.digest));
    RETURN_IF_ERROR(parts_.blobs->Put(predicate).status());
    response.attestations[source.multi_platform ? source.platforms[index].id : ""].push_back(std::move(descriptor));
  }
  return absl::OkStatus();
}

void BuildRun::ShowWarnings() {
  if (warnings_.empty()) return;
  solver::VertexEvent event;
  event.name = "Verifying build result";
  event.digest = oci::Digest::Of(absl::StrCat(event.name, facts_.invocation_id)).str();
  event.started = parts_.clock->Now();
  progress_->OnVertex(event);
  for (const std::string& text : warnings_) {
    solver::WarningEvent warning;
    warning.vertex = event.digest;
    warning.brief = text;
    progress_->OnWarning(std::move(warning));
  }
  event.completed = parts_.clock->Now();
  progress_->OnVertex(std::move(event));
}

absl::StatusOr<BuildResponse> BuildRun::Run(const std::function<void(std::shared_ptr<Gateway>)>& on_gateway) {
  RETURN_IF_ERROR(Check());
  RETURN_IF_ERROR(Prepare());
  ASSIGN_OR_RETURN(llb::FrontendResult result, Evaluate(on_gateway));
  return Finish(std::move(result));
}

}  // namespace cachalot::build
