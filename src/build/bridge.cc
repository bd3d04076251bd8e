#include "build/bridge.h"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "build/image_frontend.h"
#include "build/tree_reader.h"
#include "dockerfile/frontend.h"
#include "oci/digest.h"
#include "op/result.h"
#include "op/selectors.h"
#include "op/source_metadata.h"

namespace cachalot::build {
namespace {

constexpr absl::string_view kImageScheme = "docker-image://", kLayoutScheme = "oci-layout://";

// Shows work that belongs to no operation as a vertex of its own.
absl::Status ShowAsVertex(const op::Environment& environment, const std::string& name, const std::string& id,
                          const std::function<absl::Status()>& work) {
  solver::VertexEvent event;
  event.digest = oci::Digest::Of(id).str();
  event.name = name;
  event.started = environment.parts.clock->Now();
  environment.progress->OnVertex(event);
  absl::Status status = work();
  event.completed = environment.parts.clock->Now();
  event.error = std::string(status.message());
  environment.progress->OnVertex(event);
  return status;
}

absl::Status NotAnImage(const std::string& ref, const std::string& identifier) {
  absl::Status status = absl::FailedPreconditionError(absl::StrCat("the source policy turned the image ", ref, " into ", identifier));
  status.SetPayload(llb::kOtherSourcePayload, absl::Cord(identifier));
  return status;
}

}  // namespace

absl::StatusOr<std::vector<solver::ResultPtr>> SolveAll(BuildCore& core, const std::vector<llb::RefPtr>& refs, const CancelToken& cancel) {
  struct Collected {
    std::mutex mutex;
    std::condition_variable all;
    std::size_t missing;
    absl::Status failure;
    std::vector<solver::ResultPtr> results;
  };
  auto collected = std::make_shared<Collected>();
  collected->missing = refs.size();
  collected->results.resize(refs.size());
  CancelSource stop(cancel);
  for (std::size_t i = 0; i < refs.size(); ++i) {
    core.SolveAsync(refs[i], stop.token(), [collected, i](absl::StatusOr<solver::ResultPtr> result) {
      std::lock_guard lock(collected->mutex);
      if (result.ok()) {
        collected->results[i] = *std::move(result);
      } else if (collected->failure.ok()) {
        collected->failure = result.status();
      }
      --collected->missing;
      collected->all.notify_all();
    });
  }
  std::unique_lock lock(collected->mutex);
  collected->all.wait(lock, [&] { return collected->missing == 0 || !collected->failure.ok(); });
  if (!collected->failure.ok()) {
    const absl::Status failure = collected->failure;
    lock.unlock();
    stop.Cancel();
    lock.lock();
    collected->all.wait(lock, [&] { return collected->missing == 0; });
    return failure;
  }
  return std::move(collected->results);
}

absl::StatusOr<llb::FrontendResult> Bridge::RunFrontend(const llb::SolveRequest& request) {
  const FrontendRules& rules = core_->frontends().rules;
  if (request.frontend == "dockerfile.v0" && rules.dockerfile) return dockerfile::NewFrontend()->Run(*this, request.options, request.inputs);
  if (request.frontend == "gateway.v0" && rules.images) return RunImageFrontend(core_, trace_, request, cancel_);
  return absl::InvalidArgumentError(absl::StrCat("invalid frontend: ", request.frontend));
}

std::string Bridge::session() const {
  const session::SessionPtr& session = core_->environment()->session;
  return session == nullptr ? "" : session->id();
}

absl::StatusOr<llb::FrontendResult> Bridge::Solve(const llb::SolveRequest& request) {
  RETURN_IF_ERROR(cancel_.status());
  if (!request.definition.empty() && !request.frontend.empty()) {
    return absl::InvalidArgumentError("cannot solve with both Definition and Frontend specified");
  }
  for (const llb::CacheImport& import : request.cache_imports) core_->cache().Import(import.type, import.attrs);
  llb::FrontendResult result;
  if (!request.frontend.empty()) {
    std::shared_ptr<RequestTrace> nested;
    if (trace_ != nullptr) nested = trace_->AddNested({request.frontend, request.options, request.inputs});
    ASSIGN_OR_RETURN(result, Bridge(core_, nested, policies_, cancel_).RunFrontend(request));
    if (nested != nullptr) nested->AddResult(result);
  } else if (!request.definition.empty()) {
    absl::StatusOr<llb::Edge> edge = llb::LoadDefinition(request.definition);
    if (!edge.ok()) return Annotate(edge.status(), "failed to load LLB");
    ASSIGN_OR_RETURN(result.ref, core_->NewRef(*std::move(edge), request.policies));
    if (trace_ != nullptr) trace_->AddResult(result);
  }
  if (request.evaluate) {
    std::vector<llb::RefPtr> refs;
    if (result.ref != nullptr) refs.push_back(result.ref);
    for (const auto& [platform, ref] : result.refs) refs.push_back(ref);
    RETURN_IF_ERROR(SolveAll(*core_, refs, cancel_).status());
  }
  return result;
}

absl::Status Bridge::ApplyPolicy(llb::SourceOp& source, const llb::ResolveOptions& options) {
  SourcePolicy& policy = core_->policy();
  if (policy.empty(options.policies)) return absl::OkStatus();
  Bridge metadata(core_, nullptr, Policies::kRules, cancel_);
  const absl::Status verdict = policies_ == Policies::kRules ? policy.ApplyRules(source, options.policies)
                                                             : policy.Apply(source, options.platform, options.policies, metadata, cancel_);
  return Annotate(verdict, "could not resolve image due to policy");
}

absl::StatusOr<llb::ResolvedImage> Bridge::ResolveImage(const std::string& ref, const llb::ResolveOptions& options) {
  const absl::string_view scheme = options.store_id.empty() ? kImageScheme : kLayoutScheme;
  llb::SourceOp source{absl::StrCat(scheme, ref), {}};
  RETURN_IF_ERROR(ApplyPolicy(source, options));
  if (!absl::StartsWith(source.identifier, scheme)) return NotAnImage(ref, source.identifier);
  ASSIGN_OR_RETURN(llb::ResolvedSource resolved, ResolveAllowed(source, options));
  return *std::move(resolved.image);
}

absl::StatusOr<llb::ResolvedSource> Bridge::ResolveSource(const llb::SourceOp& source, const llb::ResolveOptions& options) {
  llb::SourceOp allowed = source;
  RETURN_IF_ERROR(ApplyPolicy(allowed, options));
  return ResolveAllowed(allowed, options);
}

absl::StatusOr<llb::ResolvedSource> Bridge::ResolveAllowed(const llb::SourceOp& source, const llb::ResolveOptions& options) {
  const op::Environment& environment = *core_->environment();
  const oci::Platform platform = options.platform.has_value() ? oci::Normalize(*options.platform) : environment.platform;
  const std::string name = options.log_name.empty() ? absl::StrCat("resolve image config for ", source.identifier) : options.log_name;
  llb::ResolvedSource resolved;
  RETURN_IF_ERROR(ShowAsVertex(environment, name, absl::StrCat(source.identifier, oci::FormatPlatform(platform, true)), [&]() -> absl::Status {
    ASSIGN_OR_RETURN(resolved, op::ResolveSource(environment, source, options, cancel_));
    return absl::OkStatus();
  }));
  if (trace_ != nullptr && resolved.image.has_value()) {
    const bool layout = absl::StartsWith(source.identifier, kLayoutScheme);
    trace_->AddImage({resolved.image->ref, options.platform, resolved.image->digest, layout});
  }
  return resolved;
}

absl::StatusOr<std::unique_ptr<op::SourceTree>> Bridge::Files(const llb::RefPtr& ref, solver::ResultPtr& hold) {
  ASSIGN_OR_RETURN(hold, core_->Solve(ref, cancel_));
  RETURN_IF_ERROR(op::MaterializeAll(*core_->environment(), {hold}, cancel_));
  return op::SourceTree::Open(*core_->environment()->parts.snapshots, op::TreeOf(hold));
}

absl::StatusOr<std::string> Bridge::ReadFile(const llb::RefPtr& ref, const std::string& path, std::int64_t offset, std::int64_t length) {
  solver::ResultPtr hold;
  ASSIGN_OR_RETURN(const std::unique_ptr<op::SourceTree> tree, Files(ref, hold));
  return ReadTreeFile(*tree, path, offset, length);
}

absl::StatusOr<std::vector<llb::FileStat>> Bridge::ReadDir(const llb::RefPtr& ref, const std::string& path, const std::string& include_pattern) {
  solver::ResultPtr hold;
  ASSIGN_OR_RETURN(const std::unique_ptr<op::SourceTree> tree, Files(ref, hold));
  return ReadTreeDirectory(*tree, path, include_pattern);
}

absl::StatusOr<llb::FileStat> Bridge::StatFile(const llb::RefPtr& ref, const std::string& path) {
  solver::ResultPtr hold;
  ASSIGN_OR_RETURN(const std::unique_ptr<op::SourceTree> tree, Files(ref, hold));
  return StatTreeFile(*tree, path);
}

}  // namespace cachalot::build
