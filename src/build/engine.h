// The engine: everything one process needs to build, and the builds that run in it. The daemon's services and the embedded
// client both drive this.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/unique_fd.h"
#include "build/container.h"
#include "build/frontend_host.h"
#include "build/source_verifier.h"
#include "llb/frontend.h"
#include "policy/policy.h"
#include "registry/client.h"
#include "runtime/cdi.h"
#include "runtime/runtime.h"
#include "session/session.h"
#include "snapshot/snapshots.h"
#include "solver/progress.h"
#include "store/blobs.h"
#include "store/build_records.h"

namespace cachalot::build {

struct Config {
  std::string root;  // state directory; created
  registry::HostConfigs registries;
  runtime::Runtime::Config runtime;
  std::vector<std::string> insecure_entitlements;  // "network.host", "security.insecure", "device"
  runtime::CdiDevices::Config cdi;
  std::string cgroup_parent;   // of steps that name none
  bool proxy_network = false;  // for all builds
  int max_parallelism = 0;     // concurrent exec steps, 0 unlimited
  std::map<std::string, std::string> worker_labels;
  std::vector<oci::Platform> platforms;       // empty: what this machine runs
  std::optional<snapshot::Kind> snapshotter;  // none: what works below the root
  bool gc = true;
  std::vector<snapshot::PrunePolicy> gc_policies;  // empty: defaults from the disk's size
  FrontendRules frontends;
  std::string provenance_env_dir;      // *.json files that go into the environment of provenance
  std::string provenance_environment;  // their content, read when the engine opens
};

struct ExportRequest {
  std::string type;
  std::map<std::string, std::string> attrs;
};

struct ProgressBatch {
  std::vector<solver::VertexEvent> vertexes;
  std::vector<solver::StatusEvent> statuses;
  std::vector<solver::LogEvent> logs;
  std::vector<solver::WarningEvent> warnings;
};

struct BuildRequest {
  std::string ref;                  // chosen by the client, unique
  std::string session;              // id, or empty
  llb::Definition definition;       // when there is no frontend
  bool scratch_definition = false;  // a definition was given, and it is the empty one
  std::string frontend;
  std::map<std::string, std::string> options;
  std::map<std::string, llb::Definition> inputs;
  std::vector<ExportRequest> exports;
  std::vector<ExportRequest> cache_imports, cache_exports;
  std::vector<std::string> entitlements;
  bool internal = false;
  bool session_exporter = false;
  int compatibility_version = 0;  // which generation's defaults exporters follow (export/exporter.h); 0 is the current one
  std::vector<policy::Policy> source_policies;
  std::shared_ptr<SourceVerifier> source_verifier;  // null: the policies decide alone
  // Gets the whole progress, in batches, after the build's last event and before Build returns.
  std::function<void(const ProgressBatch&)> on_progress;
  bool proxy_network = false;  // steps reach the network through a proxy only
};

struct BuildResponse {
  std::map<std::string, std::string> exporter_response;
  // For history, as far as they are blobs of the store: what exporters made, by their index in the request, and what is attested of
  // the result, by platform ("" for a result without platforms).
  std::map<int, oci::Descriptor> results{};
  std::map<std::string, std::vector<oci::Descriptor>> attestations{};
  std::map<std::string, std::string> metadata{};             // of the frontend's result
  std::vector<std::shared_ptr<store::BlobPin>> blob_pins{};  // for these blobs
};

// A build whose frontend runs in the client: it asks through the gateway (LLBBridge) until it returns a result.
class GatewayBuild {
 public:
  virtual ~GatewayBuild() = default;
  virtual llb::FrontendBridge& bridge() = 0;
  virtual void Return(absl::StatusOr<llb::FrontendResult> result) = 0;
  virtual const std::map<std::string, llb::Definition>& inputs() const = 0;
  // Refs handed out to this frontend, by the id the wire uses.
  virtual std::string Keep(const llb::RefPtr& ref) = 0;  // empty for null
  virtual absl::StatusOr<llb::RefPtr> Find(const std::string& id) = 0;
  // Containers live until they are released, or the build ends. ALREADY_EXISTS, NOT_FOUND by their ids.
  virtual absl::Status NewContainer(ContainerRequest request, const CancelToken& cancel) = 0;
  virtual absl::StatusOr<ContainerPtr> FindContainer(const std::string& id) = 0;
  // The error may be that of a process of the container.
  virtual absl::Status ReleaseContainer(const std::string& id) = 0;
};

struct WorkerInfo {
  std::string id;
  std::map<std::string, std::string> labels;
  std::vector<oci::Platform> platforms;
  std::vector<snapshot::PrunePolicy> gc_policies;
  std::vector<runtime::CdiDevice> devices;  // those of now
};

// Thread-safe.
class Engine {
 public:
  // Opens (or creates) the state below config.root, taking its lock: a second owner gets an UNAVAILABLE that names it.
  static absl::StatusOr<std::unique_ptr<Engine>> Open(Config config);
  virtual ~Engine() = default;  // cancels what runs and waits for it

  virtual session::SessionHub& sessions() = 0;
  virtual snapshot::Snapshots& snapshots() = 0;
  virtual store::BlobStore& blobs() = 0;
  virtual store::BuildRecords& build_records() = 0;

  // Runs a build to its end. The error carries the details clients expect (see build/errors.h).
  virtual absl::StatusOr<BuildResponse> Build(const BuildRequest& request, const CancelToken& cancel) = 0;
  // Follows the progress of build `ref` from its start until it ends; waits a while for a build that is about to start.
  // `on_batch` returning an error stops it.
  virtual absl::Status Follow(const std::string& ref, const std::function<absl::Status(const ProgressBatch&)>& on_batch,
                              const CancelToken& cancel) = 0;
  // The gateway of a build whose frontend runs in the client; waits for the build to start.
  virtual absl::StatusOr<std::shared_ptr<GatewayBuild>> Gateway(const std::string& ref, const CancelToken& cancel) = 0;

  // Who serves frontends that come as images: outlives every build, or is taken away (null) when none runs any more. Not to be called
  // while a build runs.
  virtual void ServeFrontendsWith(FrontendServer* server) = 0;
  // The socket below the root by which other processes find this engine, for whoever serves them (see build/root_lock.h). Once;
  // not valid where there is none.
  virtual UniqueFd TakeListener() = 0;

  virtual WorkerInfo worker() = 0;
  virtual absl::StatusOr<std::vector<snapshot::UsageRecord>> DiskUsage(const std::vector<std::string>& filters) = 0;
  virtual absl::Status Prune(const snapshot::PrunePolicy& policy, const std::function<void(const snapshot::UsageRecord&)>& on_deleted) = 0;
};

}  // namespace cachalot::build
