// What one build consists of while it runs: its environment, its graph and its solver job.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "build/build_cache.h"
#include "build/frontend_host.h"
#include "build/source_policy.h"
#include "build/vertex_loader.h"
#include "llb/frontend.h"
#include "op/environment.h"
#include "solver/solver.h"

namespace cachalot::build {

// Shared by the build and every ref that it hands out. Thread-safe.
class BuildCore : public std::enable_shared_from_this<BuildCore> {
 public:
  // `frontends` outlives it.
  BuildCore(op::EnvironmentPtr environment, Entitlements entitlements, std::unique_ptr<SourcePolicy> policy, solver::Solver& solver,
            const FrontendHost& frontends, CancelToken cancel);

  // A ref for the graph beneath `edge`, as the build's source policies and the frontend's make it. Nothing is solved yet, but the
  // graph is checked.
  absl::StatusOr<llb::RefPtr> NewRef(llb::Edge edge, const std::vector<policy::Policy>& policies = {});
  // The tree of a ref of this build (null is scratch). Errors carry the failed vertex.
  absl::StatusOr<solver::ResultPtr> Solve(const llb::RefPtr& ref, const CancelToken& cancel);
  // The same without blocking. This outlives the call of `done`.
  void SolveAsync(const llb::RefPtr& ref, const CancelToken& cancel, solver::Job::Callback done);

  // Whether the ref's tree was asked for and is there.
  bool IsSolved(const llb::RefPtr& ref);
  // What a source of this build's graphs was resolved to (see op/pinned.h); empty for other vertices and before that.
  std::string PinOf(const llb::Vertex& vertex);
  // The layers of an output of a vertex of this build, lowest first, if the output is there and all its layers are known by blobs.
  std::vector<oci::Descriptor> LayersOf(const llb::Vertex& vertex, int output);
  // The key of what a ref of this build that was solved stands for; nothing for scratch.
  std::optional<remotecache::ExportedOutput> OutputOf(const llb::RefPtr& ref);

  const op::EnvironmentPtr& environment() const { return environment_; }
  BuildCache& cache() { return *cache_; }
  SourcePolicy& policy() { return *policy_; }
  const CancelToken& cancel() const { return cancel_; }
  const Entitlements& entitlements() const { return entitlements_; }
  const FrontendHost& frontends() const { return frontends_; }

 private:
  const op::EnvironmentPtr environment_;
  const Entitlements entitlements_;
  const FrontendHost& frontends_;
  const std::unique_ptr<SourcePolicy> policy_;
  VertexLoader loader_;
  const CancelToken cancel_;
  const std::shared_ptr<BuildCache> cache_;
  const std::unique_ptr<solver::Job> job_;
};

}  // namespace cachalot::build
