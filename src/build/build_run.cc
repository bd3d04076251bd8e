#include "build/build_run.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "build/bridge.h"
#include "build/export_source.h"
#include "export/exporter.h"
#include "oci/digest.h"
#include "op/image_resolver.h"
#include "op/layer_fetcher.h"

namespace cachalot::build {
namespace {

constexpr absl::Duration kSessionPatience = absl::Seconds(5);
constexpr int kClosed = -1;  // for nested solves: none may begin any more

// What BuildKit has, so that a typing error can be told from what is missing here.
bool IsCacheType(const std::string& type) {
  static const std::set<std::string> kTypes = {"registry", "local", "inline", "gha", "s3", "azblob"};
  return kTypes.count(type) > 0;
}

absl::StatusOr<solver::ResultPtr> SolveNested(std::shared_ptr<BuildCore> core, const llb::Definition& definition, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(llb::Edge edge, llb::LoadDefinition(definition));
  ASSIGN_OR_RETURN(const llb::RefPtr ref, core->NewRef(std::move(edge)));
  absl::StatusOr<solver::ResultPtr> result = core->Solve(ref, cancel);
  core.reset();
  return result;
}

}  // namespace

BuildRun::~BuildRun() {
  if (gateway_ != nullptr) gateway_->Close();
  // So that no worker of the solver is the last to hold the build's job.
  auto nested = nested_->Lock();
  nested.Wait([](int count) { return count == 0; });
  *nested = kClosed;
}

absl::Status BuildRun::Check() {
  for (const ExportRequest& request : request_.exports) {
    RETURN_IF_ERROR(exporting::CheckExport(request.type, request.attrs));
  }
  for (const ExportRequest& request : request_.cache_imports) {
    if (!IsCacheType(request.type)) return absl::InvalidArgumentError(absl::StrCat("unknown cache importer: ", request.type));
  }
  for (const ExportRequest& request : request_.cache_exports) {
    if (!IsCacheType(request.type)) return absl::InvalidArgumentError(absl::StrCat("unknown cache exporter: \"", request.type, "\""));
    if (request.type != "inline") return absl::UnimplementedError(absl::StrCat("cache exporter ", request.type, " is not supported"));
  }
  if (request_.definition.empty() || request_.frontend.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("cannot solve with both Definition and Frontend specified");
}

void BuildRun::WarnOfCacheImports() {
  for (const ExportRequest& request : request_.cache_imports) {
    auto ref = request.attrs.find("ref");
    solver::VertexEvent event;
    event.name = absl::StrCat("importing cache manifest from ", ref == request.attrs.end() ? request.type : ref->second);
    event.digest = oci::Digest::Of(event.name).str();
    event.started = event.completed = parts_.clock->Now();
    event.error = absl::StrCat("cache importer ", request.type, " is not supported");
    progress_->OnVertex(std::move(event));
  }
}

absl::Status BuildRun::Prepare() {
  ASSIGN_OR_RETURN(entitlements_, Entitlements::Grant(request_.entitlements, config_.insecure_entitlements));
  auto environment = std::make_shared<op::Environment>();
  environment->parts = parts_;
  environment->build_ref = request_.ref;
  if (!request_.session.empty()) {
    ASSIGN_OR_RETURN(environment->session, parts_.sessions->Find(request_.session, kSessionPatience, cancel_));
  }
  const std::shared_ptr<registry::Credentials> credentials = environment->session == nullptr ? nullptr : environment->session->credentials();
  environment->progress = progress_;
  environment->images = std::make_shared<op::ImageResolver>(parts_.registry, parts_.blobs, credentials);
  environment->layers = std::make_shared<op::LayerFetcher>(parts_.registry, parts_.clock, credentials, progress_);
  environment->cgroup_parent = config_.cgroup_parent;
  environment->platform = config_.platforms.empty() ? oci::HostPlatform() : config_.platforms.front();
  // The core owns the environment: a strong pointer back would keep both forever.
  auto core = std::make_shared<std::weak_ptr<BuildCore>>();
  environment->solve_nested = [core, nested = nested_](const llb::Definition& definition,
                                                       const CancelToken& cancel) -> absl::StatusOr<solver::ResultPtr> {
    {
      auto count = nested->Lock();
      if (*count == kClosed) return absl::CancelledError("the build has ended");
      ++*count;
    }
    absl::StatusOr<solver::ResultPtr> result = SolveNested(core->lock(), definition, cancel);
    --*nested->Lock();
    nested->NotifyAll();
    return result;
  };
  auto policy = std::make_unique<SourcePolicy>(request_.source_policies, request_.source_verifier);
  core_ = std::make_shared<BuildCore>(std::move(environment), entitlements_, std::move(policy), solver_, cancel_);
  *core = core_;
  return absl::OkStatus();
}

absl::StatusOr<llb::FrontendResult> BuildRun::Evaluate(const std::function<void(std::shared_ptr<Gateway>)>& on_gateway) {
  if (request_.frontend.empty() && request_.definition.empty()) {
    gateway_ = std::make_shared<Gateway>(core_, request_.inputs);
    on_gateway(gateway_);
    return gateway_->Wait(cancel_);
  }
  llb::SolveRequest request;
  request.definition = request_.definition;
  request.frontend = request_.frontend;
  request.options = request_.options;
  request.inputs = request_.inputs;
  return Bridge(core_).Solve(request);
}

absl::StatusOr<BuildResponse> BuildRun::Export(const llb::FrontendResult& result) {
  if (request_.exports.empty()) {
    std::vector<llb::RefPtr> refs;
    if (result.ref != nullptr) refs.push_back(result.ref);
    for (const auto& [platform, ref] : result.refs) refs.push_back(ref);
    RETURN_IF_ERROR(SolveAll(*core_, refs).status());
    return BuildResponse();
  }
  ASSIGN_OR_RETURN(const exporting::Source source, MakeExportSource(*core_, result));
  const op::Environment& environment = *core_->environment();
  BuildResponse response;
  for (std::size_t i = 0; i < request_.exports.size(); ++i) {
    exporting::Context context{
        parts_.snapshots, environment.layers.get(), parts_.blobs, parts_.registry, environment.session, static_cast<int>(i), progress_, parts_.clock,
        cancel_};
    ASSIGN_OR_RETURN(const auto exported, exporting::Export(request_.exports[i].type, request_.exports[i].attrs, source, context));
    response.exporter_response.insert(exported.begin(), exported.end());
  }
  return response;
}

absl::StatusOr<BuildResponse> BuildRun::Run(const std::function<void(std::shared_ptr<Gateway>)>& on_gateway) {
  RETURN_IF_ERROR(Check());
  RETURN_IF_ERROR(Prepare());
  WarnOfCacheImports();
  ASSIGN_OR_RETURN(const llb::FrontendResult result, Evaluate(on_gateway));
  return Export(result);
}

}  // namespace cachalot::build
