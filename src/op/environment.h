// What operations work with: the parts of the engine, and those of one build.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "llb/frontend.h"
#include "llb/op.h"
#include "op/step_usage.h"
#include "registry/client.h"
#include "registry/http.h"
#include "runtime/cdi.h"
#include "runtime/runtime.h"
#include "session/session.h"
#include "snapshot/snapshots.h"
#include "solver/progress.h"
#include "solver/solver.h"
#include "store/blobs.h"
#include "store/cache_index.h"

namespace cachalot::op {

class NamedTrees;
class ExecSlots;
class GitRefs;
class HeldLocals;
class HttpResources;
class ImageResolver;
class KeptTrees;
class LayerFetcher;
class ProxiedSteps;
struct ProxyUse;

// The engine's parts; all outlive every operation.
struct Parts {
  snapshot::Snapshots* snapshots = nullptr;
  store::BlobStore* blobs = nullptr;
  registry::Client* registry = nullptr;
  registry::HttpTransport* http = nullptr;
  store::CacheIndex* index = nullptr;
  runtime::Runtime* runtime = nullptr;
  runtime::CdiDevices* devices = nullptr;
  session::SessionHub* sessions = nullptr;
  Clock* clock = nullptr;
  NamedTrees* named_trees = nullptr;  // cache mounts and local sources in use
  HeldLocals* held_locals = nullptr;
  ExecSlots* exec_slots = nullptr;  // bounds concurrent containers
  ProxiedSteps* proxied_steps = nullptr;
  std::string work_dir;  // private scratch space: the mount points of secrets
};

// One build's view. Shared by its operations.
struct Environment {
  Parts parts;
  std::string build_ref;
  session::SessionPtr session;  // of the client that asked; null when there is none
  std::shared_ptr<solver::ProgressSink> progress;
  std::shared_ptr<ImageResolver> images;
  std::shared_ptr<LayerFetcher> layers;
  std::shared_ptr<HttpResources> web;
  std::shared_ptr<GitRefs> git_refs;
  oci::Platform platform;  // for vertices that name none
  std::string cgroup_parent;
  std::shared_ptr<KeptTrees> kept_trees;  // null: nobody asks for the trees of failed operations
  std::shared_ptr<StepUsages> usages = std::make_shared<StepUsages>();
  std::shared_ptr<ProxyUse> proxy;  // set when steps reach the network through proxies of ours only
  // Solves a nested graph of this build (LLB's build operation).
  std::function<absl::StatusOr<solver::ResultPtr>(const llb::Definition&, const CancelToken&)> solve_nested;
};
using EnvironmentPtr = std::shared_ptr<const Environment>;

// A failure that only this build's client could have prevented: see solver::kOnlyThisBuildPayload.
absl::Status OfTheClient(absl::Status status);
// The session by id, or the build's own when `id` is empty or no longer attached. UNAVAILABLE without any.
absl::StatusOr<session::SessionPtr> SessionFor(const Environment& environment, const std::string& id, const CancelToken& cancel);

}  // namespace cachalot::op
