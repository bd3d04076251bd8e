#include "build/engine.h"

#include <unistd.h>

#include <deque>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/guarded.h"
#include "base/log.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/worker_pool.h"
#include "build/build_run.h"
#include "build/cache_store.h"
#include "build/gc_policies.h"
#include "build/private_root.h"
#include "build/progress_log.h"
#include "build/provenance/custom_environment.h"
#include "build/root_lock.h"
#include "build/upkeep.h"
#include "build/worker_platforms.h"
#include "op/exec_slots.h"
#include "op/local_source.h"
#include "op/named_trees.h"
#include "op/proxy/proxied_step.h"
#include "os/file.h"
#include "os/memory.h"
#include "store/durability.h"
#include "store/local_blobs.h"
#include "store/schema.h"

namespace cachalot::build {
namespace {

// Operations block (on registries, clients, containers and one another): there may be many at a time.
constexpr int kMaxWorkers = 512;
// How long a request that names a build waits for that build to begin.
constexpr std::chrono::seconds kBuildPatience(3);
// Builds that ended and can still be followed, and for how long.
constexpr std::size_t kMaxEnded = 16;
constexpr std::chrono::seconds kTidyDelay(2);
constexpr std::chrono::minutes kCollectionDelay(1);

class PoolExecutor : public solver::Executor {
 public:
  void Run(std::function<void()> work) override { pool_.Run(std::move(work)); }

 private:
  WorkerPool pool_{"solve", kMaxWorkers};
};

struct BuildEntry {
  std::shared_ptr<ProgressLog> progress = std::make_shared<ProgressLog>();
  std::shared_ptr<Gateway> gateway;  // while a client's frontend may use it
  bool ended = false;
};
struct Builds {
  std::map<std::string, std::shared_ptr<BuildEntry>> entries;
  std::deque<std::string> ended;  // oldest first
  int running = 0;

  void ForgetOldest() {
    const auto oldest = entries.find(ended.front());
    if (oldest != entries.end() && oldest->second->ended) entries.erase(oldest);
    ended.pop_front();
  }
};

absl::StatusOr<std::string> WorkerId(const std::string& root) {
  const std::string path = absl::StrCat(root, "/workerid");
  absl::StatusOr<std::string> known = os::ReadFile(path, 256);
  if (known.ok() && !known->empty()) return known;
  const std::string id = RandomId();
  RETURN_IF_ERROR(os::WriteFileAtomic(path, id, 0600, os::Durability::kSynced));
  return id;
}

// Once the state is closed and somebody else may have it, a process that outlives this one sees it to the disk.
class LastSync {
 public:
  ~LastSync() {
    if (number_ == 0) return;
    if (const absl::Status status = store::SyncLater(root_, number_); !status.ok()) LogWarning("sync after the stop: ", status.message());
  }
  void Prepare(store::Database& database, const std::string& root) {
    const absl::StatusOr<std::int64_t> number = store::NumberVolatile(database, root, store::Moment::kStop);
    if (!number.ok()) return LogWarning("stop: ", number.status().message());
    root_ = root;
    number_ = *number;
  }

 private:
  std::string root_;
  std::int64_t number_ = 0;
};

class EngineImpl : public Engine {
 public:
  explicit EngineImpl(Config config) : config_(std::move(config)), frontends_{nullptr, [this] { return worker(); }, config_.frontends} {}
  ~EngineImpl() override;
  absl::Status Open();

  session::SessionHub& sessions() override { return *sessions_; }
  snapshot::Snapshots& snapshots() override { return *snapshots_; }
  store::BlobStore& blobs() override { return *blobs_; }
  store::BuildRecords& build_records() override { return *build_records_; }
  absl::StatusOr<BuildResponse> Build(const BuildRequest& request, const CancelToken& cancel) override;
  absl::Status Follow(const std::string& ref, const std::function<absl::Status(const ProgressBatch&)>& on_batch, const CancelToken& cancel) override;
  absl::StatusOr<std::shared_ptr<GatewayBuild>> Gateway(const std::string& ref, const CancelToken& cancel) override;
  void ServeFrontendsWith(FrontendServer* server) override { frontends_.server = server; }
  UniqueFd TakeListener() override { return std::move(lock_.listener); }
  WorkerInfo worker() override {
    WorkerInfo worker = worker_;
    worker.devices = devices_->Read().List();
    return worker;
  }
  absl::StatusOr<std::vector<snapshot::UsageRecord>> DiskUsage(const std::vector<std::string>& filters) override {
    return snapshots_->DiskUsage(filters);
  }
  absl::Status Prune(const snapshot::PrunePolicy& policy, const std::function<void(const snapshot::UsageRecord&)>& on_deleted) override;

 private:
  absl::StatusOr<std::shared_ptr<BuildEntry>> Begin(const std::string& ref);
  void End(const std::string& ref, const std::shared_ptr<BuildEntry>& entry);
  // Waits for `ready`, which finds what is wanted under the lock.
  absl::Status WaitFor(const std::string& ref, const std::function<bool(const Builds&)>& ready, const CancelToken& cancel);
  void Describe(const std::string& id);
  // Gives up what only builds need.
  void Tidy();

  Config config_;
  FrontendHost frontends_;
  LastSync last_sync_;
  RootLock lock_;
  WorkerInfo worker_;
  snapshot::Kind snapshots_kind_ = snapshot::Kind::kOverlay;
  CancelSource shutdown_;
  // In the order of their making: each needs only earlier ones.
  std::unique_ptr<WorkerPool> cpu_;
  std::unique_ptr<store::Database> database_;
  std::unique_ptr<store::LocalBlobs> blobs_;
  std::unique_ptr<store::BuildRecords> build_records_;
  std::unique_ptr<snapshot::Snapshots> snapshots_;
  std::unique_ptr<store::CacheIndex> index_;
  std::unique_ptr<CacheStore> cache_;
  std::unique_ptr<registry::Client> registry_;
  std::unique_ptr<registry::HttpTransport> http_;
  std::unique_ptr<runtime::Runtime> runtime_;
  std::unique_ptr<runtime::CdiDevices> devices_;
  std::unique_ptr<session::SessionHub> sessions_;
  std::unique_ptr<op::NamedTrees> named_trees_;
  std::unique_ptr<op::HeldLocals> held_locals_;
  std::unique_ptr<op::ExecSlots> exec_slots_;
  std::unique_ptr<op::ProxiedSteps> proxied_steps_;
  op::Parts parts_;
  std::unique_ptr<Upkeep> upkeep_;
  PoolExecutor executor_;
  std::unique_ptr<solver::Solver> solver_;
  ProducerIndex producers_;
  Guarded<Builds> builds_;
};

absl::Status EngineImpl::Open() {
  RETURN_IF_ERROR(MakePrivateRoot(config_.root));
  ASSIGN_OR_RETURN(lock_, LockRoot(config_.root));
  ASSIGN_OR_RETURN(const std::string id, WorkerId(config_.root));
  ASSIGN_OR_RETURN(snapshots_kind_, snapshot::ChooseKind(config_.root, config_.snapshotter));
  ASSIGN_OR_RETURN(config_.provenance_environment, LoadCustomEnvironment(config_.provenance_env_dir));
  parts_.work_dir = absl::StrCat(config_.root, "/work");
  RETURN_IF_ERROR(os::RemoveTree(parts_.work_dir));
  RETURN_IF_ERROR(os::MakeDirectories(parts_.work_dir, 0700));
  cpu_ = std::make_unique<WorkerPool>("cpu", static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  ASSIGN_OR_RETURN(database_, store::OpenMetadata(config_.root));
  ASSIGN_OR_RETURN(blobs_, store::LocalBlobs::Open(config_.root, database_.get()));
  build_records_ = std::make_unique<store::BuildRecords>(database_.get());
  snapshot::Options options{config_.root, blobs_.get(), database_.get(), cpu_.get()};
  options.kind = snapshots_kind_;
  ASSIGN_OR_RETURN(snapshots_, snapshot::OpenSnapshots(options));
  index_ = std::make_unique<store::CacheIndex>(database_.get());
  cache_ = std::make_unique<CacheStore>(index_.get(), snapshots_.get());
  registry_ = registry::Client::Create(config_.registries);
  http_ = registry::HttpTransport::Create();
  if (config_.runtime.state_dir.empty()) config_.runtime.state_dir = absl::StrCat(config_.root, "/runtime");
  ASSIGN_OR_RETURN(runtime_, runtime::Runtime::Create(config_.runtime));
  devices_ = std::make_unique<runtime::CdiDevices>(config_.cdi);
  sessions_ = session::SessionHub::Create();
  named_trees_ = std::make_unique<op::NamedTrees>(snapshots_.get());
  held_locals_ = std::make_unique<op::HeldLocals>();
  exec_slots_ = std::make_unique<op::ExecSlots>(config_.max_parallelism);
  proxied_steps_ = std::make_unique<op::ProxiedSteps>(runtime_.get(), parts_.work_dir);
  parts_.snapshots = snapshots_.get();
  parts_.blobs = blobs_.get();
  parts_.registry = registry_.get();
  parts_.http = http_.get();
  parts_.index = index_.get();
  parts_.runtime = runtime_.get();
  parts_.devices = devices_.get();
  parts_.sessions = sessions_.get();
  parts_.clock = &Clock::System();
  parts_.named_trees = named_trees_.get();
  parts_.held_locals = held_locals_.get();
  parts_.exec_slots = exec_slots_.get();
  parts_.proxied_steps = proxied_steps_.get();
  solver_ = solver::Solver::Create(cache_.get(), &executor_, parts_.clock);
  Describe(id);
  std::vector<Upkeep::Chore> chores = {{kTidyDelay, [this] { Tidy(); }}};
  if (config_.gc) chores.push_back({kCollectionDelay, [this] { CollectGarbage(*snapshots_, worker_.gc_policies); }});
  upkeep_ = std::make_unique<Upkeep>(std::move(chores));
  return absl::OkStatus();
}

void EngineImpl::Describe(const std::string& id) {
  if (config_.platforms.empty()) config_.platforms = RunnablePlatforms();
  worker_.id = id;
  worker_.platforms = config_.platforms;
  worker_.labels = {{"org.mobyproject.buildkit.worker.executor", "oci"},
                    {"org.mobyproject.buildkit.worker.snapshotter", std::string(snapshot::KindName(snapshots_kind_))},
                    {"org.mobyproject.buildkit.worker.network", config_.runtime.cni.has_value() ? "cni" : "host"},
                    {"org.mobyproject.buildkit.worker.oci.process-mode", "sandbox"},
                    {"org.mobyproject.buildkit.worker.selinux.enabled", config_.runtime.selinux ? "true" : "false"}};
  if (!config_.runtime.apparmor_profile.empty())
    worker_.labels["org.mobyproject.buildkit.worker.apparmor.profile"] = config_.runtime.apparmor_profile;
  char host[256] = "";
  if (::gethostname(host, sizeof host - 1) == 0) worker_.labels["org.mobyproject.buildkit.worker.hostname"] = host;
  for (const auto& [name, value] : config_.worker_labels) worker_.labels[name] = value;
  if (config_.gc) worker_.gc_policies = config_.gc_policies.empty() ? DefaultPolicies(config_.root) : config_.gc_policies;
}

EngineImpl::~EngineImpl() {
  shutdown_.Cancel(absl::CancelledError("the engine is shutting down"));
  builds_.Lock().Wait([](const Builds& builds) { return builds.running == 0; });
  upkeep_.reset();
  solver_.reset();
  if (database_ != nullptr) last_sync_.Prepare(*database_, config_.root);
}

void EngineImpl::Tidy() {
  bool idle = false;
  {
    auto builds = builds_.Lock();
    while (!builds->ended.empty()) builds->ForgetOldest();
    idle = builds->running == 0;
  }
  if (const absl::Status status = snapshots_->ReleaseMemory(); !status.ok()) LogWarning(status.message());
  database_->ReleaseMemory();
  os::TrimHeap();
  if (!idle) return;  // what runs would fetch the pages back at once
  if (const absl::Status status = os::ReleaseFilePages(); !status.ok()) LogWarning("memory: ", status.message());
}

absl::StatusOr<std::shared_ptr<BuildEntry>> EngineImpl::Begin(const std::string& ref) {
  auto builds = builds_.Lock();
  std::shared_ptr<BuildEntry>& entry = builds->entries[ref];
  if (entry != nullptr && !entry->ended) return absl::AlreadyExistsError(absl::StrCat("job ID ", ref, " exists"));
  entry = std::make_shared<BuildEntry>();
  ++builds->running;
  builds_.NotifyAll();
  return entry;
}

void EngineImpl::End(const std::string& ref, const std::shared_ptr<BuildEntry>& entry) {
  entry->progress->Finish();
  {
    auto builds = builds_.Lock();
    entry->ended = true;
    entry->gateway.reset();
    builds->ended.push_back(ref);
    if (builds->ended.size() > kMaxEnded) builds->ForgetOldest();
  }
  upkeep_->Ask();
  // Last: the engine may go when no build runs any more.
  auto builds = builds_.Lock();
  --builds->running;
  builds_.NotifyAll();
}

absl::StatusOr<BuildResponse> EngineImpl::Build(const BuildRequest& request, const CancelToken& cancel) {
  if (request.ref.empty()) return absl::InvalidArgumentError("a build needs a ref");
  RETURN_IF_ERROR(shutdown_.token().status());
  ASSIGN_OR_RETURN(const std::shared_ptr<BuildEntry> entry, Begin(request.ref));
  CancelSource stop(cancel);
  const CancelToken::Registration on_shutdown = shutdown_.token().OnCancel([this, &stop] { stop.Cancel(shutdown_.token().status()); });
  absl::StatusOr<BuildResponse> response;
  {
    BuildRun run(parts_, *solver_, config_, frontends_, request, producers_, entry->progress, stop.token());
    response = run.Run([&](std::shared_ptr<build::Gateway> gateway) {
      builds_.Lock()->entries[request.ref]->gateway = std::move(gateway);
      builds_.NotifyAll();
    });
    // Whatever the build left behind ends with it.
    stop.Cancel();
  }
  End(request.ref, entry);
  if (request.on_progress) {
    const auto pass_on = [&](const ProgressBatch& batch) {
      request.on_progress(batch);
      return absl::OkStatus();
    };
    entry->progress->Follow(pass_on, {}).IgnoreError();
  }
  return response;
}

absl::Status EngineImpl::WaitFor(const std::string& ref, const std::function<bool(const Builds&)>& ready, const CancelToken& cancel) {
  const CancelToken::Registration wake = cancel.OnCancel([this] {
    builds_.Lock();  // so that no waiter is between its look at the token and its sleep
    builds_.NotifyAll();
  });
  auto builds = builds_.Lock();
  const bool found =
      builds.WaitUntil(std::chrono::steady_clock::now() + kBuildPatience, [&](const Builds& b) { return ready(b) || cancel.cancelled(); });
  RETURN_IF_ERROR(cancel.status());
  return found ? absl::OkStatus() : absl::NotFoundError(absl::StrCat("no such job ", ref));
}

absl::Status EngineImpl::Follow(const std::string& ref, const std::function<absl::Status(const ProgressBatch&)>& on_batch,
                                const CancelToken& cancel) {
  std::shared_ptr<ProgressLog> progress;
  auto find = [&](const Builds& builds) {
    auto found = builds.entries.find(ref);
    if (found != builds.entries.end()) progress = found->second->progress;
    return progress != nullptr;
  };
  RETURN_IF_ERROR(WaitFor(ref, find, cancel));
  return progress->Follow(on_batch, cancel);
}

absl::Status EngineImpl::Prune(const snapshot::PrunePolicy& policy, const std::function<void(const snapshot::UsageRecord&)>& on_deleted) {
  solver_->AwaitClosedJobs();  // so that what builds that have ended used is not in use
  absl::Status status = snapshots_->Prune(policy, on_deleted);
  if (status.ok() && policy.all && policy.filters.empty()) {
    // Blobs that nothing needs are spared for the build that may be about to: none is, and one that begins meanwhile asks anew.
    const auto now = std::chrono::steady_clock::now();
    if (builds_.Lock()->running == 0) status = blobs_->Collect(now).status();
  }
  Tidy();  // much was known about the snapshots
  return status;
}

absl::StatusOr<std::shared_ptr<GatewayBuild>> EngineImpl::Gateway(const std::string& ref, const CancelToken& cancel) {
  std::shared_ptr<build::Gateway> gateway;
  bool ended = false;
  auto find = [&](const Builds& builds) {
    auto found = builds.entries.find(ref);
    if (found == builds.entries.end()) return false;
    gateway = found->second->gateway;
    ended = found->second->ended;
    return gateway != nullptr || ended;
  };
  RETURN_IF_ERROR(WaitFor(ref, find, cancel));
  if (gateway == nullptr) return absl::NotFoundError(absl::StrCat("no such job ", ref));
  return gateway;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Open(Config config) {
  auto engine = std::make_unique<EngineImpl>(std::move(config));
  RETURN_IF_ERROR(engine->Open());
  return engine;
}

}  // namespace cachalot::build
