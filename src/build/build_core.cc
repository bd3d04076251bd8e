#include "build/build_core.h"

#include <future>
#include <utility>

#include "base/status.h"
#include "base/status_macros.h"
#include "build/bridge.h"
#include "build/errors.h"
#include "op/pinned.h"
#include "op/result.h"

namespace cachalot::build {
namespace {

class BuildRef : public llb::Ref {
 public:
  BuildRef(std::weak_ptr<BuildCore> core, llb::Edge edge, solver::VertexPtr vertex)
      : core_(std::move(core)), edge_(std::move(edge)), vertex_(std::move(vertex)) {}
  const llb::Edge& edge() const override { return edge_; }
  const solver::VertexPtr& vertex() const { return vertex_; }
  absl::Status Evaluate(const CancelToken& cancel) override {
    const std::shared_ptr<BuildCore> core = core_.lock();
    if (core == nullptr) return absl::CancelledError("the build has ended");
    // Not owned: the caller holds this ref.
    return core->Solve(llb::RefPtr(llb::RefPtr(), this), cancel).status();
  }

 private:
  const std::weak_ptr<BuildCore> core_;
  const llb::Edge edge_;
  const solver::VertexPtr vertex_;  // null for scratch
};

}  // namespace

BuildCore::BuildCore(op::EnvironmentPtr environment, Entitlements entitlements, std::unique_ptr<SourcePolicy> policy, solver::Solver& solver,
                     const FrontendHost& frontends, CancelToken cancel)
    : environment_(std::move(environment)),
      entitlements_(std::move(entitlements)),
      frontends_(frontends),
      policy_(std::move(policy)),
      loader_(environment_, entitlements_),
      cancel_(std::move(cancel)),
      cache_(std::make_shared<BuildCache>(environment_, cancel_)),
      job_(solver.NewJob(environment_->progress, cache_)) {}

absl::StatusOr<llb::RefPtr> BuildCore::NewRef(llb::Edge edge, const std::vector<policy::Policy>& policies) {
  solver::VertexPtr vertex;
  if (edge.vertex != nullptr) {
    Bridge metadata(shared_from_this(), nullptr, Bridge::Policies::kRules);
    absl::StatusOr<llb::Edge> judged = policy_->Apply(edge, policies, metadata, cancel_);
    if (!judged.ok()) return Annotate(judged.status(), "failed to load LLB");
    edge = *std::move(judged);
    absl::StatusOr<solver::VertexPtr> loaded = loader_.Load(edge.vertex);
    if (!loaded.ok()) return Annotate(loaded.status(), "failed to load LLB");
    vertex = *std::move(loaded);
  }
  return std::make_shared<BuildRef>(weak_from_this(), std::move(edge), std::move(vertex));
}

// The callback does not own the core: it may be destroyed by a worker of the solver, which must not destroy the job.
void BuildCore::SolveAsync(const llb::RefPtr& ref, const CancelToken& cancel, solver::Job::Callback done) {
  const auto* build_ref = static_cast<const BuildRef*>(ref.get());
  if (build_ref == nullptr || build_ref->vertex() == nullptr) return done(std::make_shared<op::TreeResult>(nullptr));
  job_->SolveAsync(build_ref->vertex(), build_ref->edge().output, cancel, [this, done = std::move(done)](absl::StatusOr<solver::ResultPtr> result) {
    if (result.ok()) return done(std::move(result));
    absl::Status failure = result.status();
    const llb::VertexPtr vertex = loader_.Find(DetailsOf(failure).vertex);
    if (vertex != nullptr) AttachVertex(failure, *vertex);
    done(std::move(failure));
  });
}

std::optional<remotecache::ExportedOutput> BuildCore::OutputOf(const llb::RefPtr& ref) {
  const auto* build_ref = static_cast<const BuildRef*>(ref.get());
  if (build_ref == nullptr || build_ref->vertex() == nullptr) return std::nullopt;
  solver::CacheKeyPtr key = job_->KeyOf(build_ref->vertex());
  if (key == nullptr) return std::nullopt;
  return remotecache::ExportedOutput{std::move(key), build_ref->edge().output};
}

absl::StatusOr<solver::ResultPtr> BuildCore::Solve(const llb::RefPtr& ref, const CancelToken& cancel) {
  // Shared with the callback: whoever sets the value may still be inside the promise when the waiter has it.
  auto promise = std::make_shared<std::promise<absl::StatusOr<solver::ResultPtr>>>();
  std::future<absl::StatusOr<solver::ResultPtr>> future = promise->get_future();
  SolveAsync(ref, cancel, [promise](absl::StatusOr<solver::ResultPtr> result) { promise->set_value(std::move(result)); });
  return future.get();
}

bool BuildCore::IsSolved(const llb::RefPtr& ref) {
  const auto* build_ref = static_cast<const BuildRef*>(ref.get());
  if (build_ref == nullptr || build_ref->vertex() == nullptr) return true;
  return job_->KeyOf(build_ref->vertex()) != nullptr;
}

std::string BuildCore::PinOf(const llb::Vertex& vertex) {
  const solver::VertexPtr loaded = loader_.LoadedAs(vertex);
  const auto* pinned = loaded == nullptr ? nullptr : dynamic_cast<const op::Pinned*>(loaded->op.get());
  return pinned == nullptr ? "" : pinned->Pin();
}

std::vector<oci::Descriptor> BuildCore::LayersOf(const llb::Vertex& vertex, int output) {
  const solver::VertexPtr loaded = loader_.LoadedAs(vertex);
  const solver::CacheKeyPtr key = loaded == nullptr ? nullptr : job_->KeyOf(loaded);
  if (key == nullptr) return {};
  const auto result = environment_->parts.index->ResultOf(solver::OutputKey(key->id, output));
  if (!result.ok() || !result->has_value() || (*result)->snapshot.empty()) return {};
  const auto tree = environment_->parts.snapshots->Get((*result)->snapshot);
  if (!tree.ok() || *tree == nullptr) return {};
  std::vector<oci::Descriptor> out;
  for (const snapshot::Layer& layer : environment_->parts.snapshots->KnownLayers(*tree)) out.push_back(layer.blob);
  return out;
}

}  // namespace cachalot::build
