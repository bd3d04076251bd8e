#include <unistd.h>

#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/guarded.h"
#include "base/log.h"
#include "base/random_id.h"
#include "base/status_macros.h"
#include "base/worker_pool.h"
#include "os/file.h"
#include "os/network_namespace.h"
#include "runtime/cni_plugins.h"
#include "runtime/network.h"

namespace cachalot::runtime {
namespace {

constexpr std::size_t kMaxResult = 4 << 20;
constexpr int kReleasers = 4;

// One namespace with its interface. On disk: <state>/<id>/netns, a mount, and <state>/<id>/result, what the plugins said.
struct Attached {
  std::string id, directory, hostname, result;
  std::string netns() const { return directory + "/netns"; }
};

class CniNetwork final : public NetworkProvider {
 public:
  CniNetwork(CniPlugins plugins, CniConfig config, std::string state_dir)
      : plugins_(std::move(plugins)), config_(std::move(config)), state_dir_(std::move(state_dir)) {}
  ~CniNetwork() override;

  absl::Status Start();
  absl::StatusOr<std::unique_ptr<ContainerNetwork>> Attach(absl::string_view container_id, absl::string_view hostname) override;
  // Keeps the network for another container, or takes it down in the background.
  void GiveBack(Attached network);

 private:
  class Use;
  absl::StatusOr<Attached> Make(absl::string_view hostname);
  void Release(const Attached& network) const;
  void ReleaseLeftOver(const std::string& id) const;

  const CniPlugins plugins_;
  const CniConfig config_;
  const std::string state_dir_;
  bool own_bridge_ = false;
  Guarded<std::deque<Attached>> idle_;
  std::unique_ptr<WorkerPool> releasers_ = std::make_unique<WorkerPool>("cni", kReleasers);
};

class CniNetwork::Use final : public ContainerNetwork {
 public:
  Use(CniNetwork* owner, Attached network) : owner_(owner), network_(std::move(network)) {}
  ~Use() override { owner_->GiveBack(std::move(network_)); }
  bool is_host() const override { return false; }
  std::string namespace_path() const override { return network_.netns(); }

 private:
  CniNetwork* const owner_;
  Attached network_;
};

absl::Status CniNetwork::Start() {
  RETURN_IF_ERROR(os::MakeDirectories(state_dir_, 0700));
  own_bridge_ = config_.bridge && !os::InterfaceExists(config_.bridge_name);
  ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> left_over, os::ListDirectory(state_dir_));
  for (const os::DirectoryEntry& entry : left_over) {
    releasers_->Run([this, id = entry.name] { ReleaseLeftOver(id); });
  }
  return absl::OkStatus();
}

CniNetwork::~CniNetwork() {
  auto idle = idle_.Lock();
  for (Attached& network : *idle) {
    releasers_->Run([this, network = std::move(network)] { Release(network); });
  }
  releasers_.reset();
  if (!own_bridge_ || !os::InterfaceExists(config_.bridge_name)) return;
  if (absl::Status status = os::RemoveBridge(config_.bridge_name); !status.ok()) LogWarning(status.message());
}

absl::StatusOr<std::unique_ptr<ContainerNetwork>> CniNetwork::Attach(absl::string_view, absl::string_view hostname) {
  // Plugins are told the name: it must be this container's own network then.
  if (hostname.empty()) {
    auto idle = idle_.Lock();
    if (!idle->empty()) {
      Attached network = std::move(idle->back());
      idle->pop_back();
      return std::make_unique<Use>(this, std::move(network));
    }
  }
  ASSIGN_OR_RETURN(Attached network, Make(hostname));
  return std::make_unique<Use>(this, std::move(network));
}

absl::StatusOr<Attached> CniNetwork::Make(absl::string_view hostname) {
  Attached network;
  network.id = RandomId();
  network.directory = absl::StrCat(state_dir_, "/", network.id);
  network.hostname = std::string(hostname);
  RETURN_IF_ERROR(os::MakeDirectories(network.directory, 0700));
  absl::Status status = os::PinNetworkNamespace(network.netns());
  if (status.ok()) {
    absl::StatusOr<std::string> result = plugins_.Add({network.id, network.netns(), network.hostname});
    status = result.status();
    if (result.ok()) network.result = *std::move(result);
  }
  if (status.ok()) status = os::WriteFileAtomic(network.directory + "/result", network.result, 0600);
  if (status.ok()) return network;
  (void)os::UnpinNetworkNamespace(network.netns());
  (void)os::RemoveTree(network.directory);
  return status;
}

void CniNetwork::GiveBack(Attached network) {
  {
    auto idle = idle_.Lock();
    if (network.hostname.empty() && static_cast<int>(idle->size()) < config_.pool_size) {
      idle->push_back(std::move(network));
      return;
    }
  }
  releasers_->Run([this, network = std::move(network)] { Release(network); });
}

void CniNetwork::Release(const Attached& network) const {
  absl::Status status = plugins_.Delete({network.id, network.netns(), network.hostname}, network.result);
  status.Update(os::UnpinNetworkNamespace(network.netns()));
  status.Update(os::RemoveTree(network.directory));
  if (!status.ok()) LogWarning("release a network: ", status.message());
}

void CniNetwork::ReleaseLeftOver(const std::string& id) const {
  const std::string directory = absl::StrCat(state_dir_, "/", id);
  // The namespace went with the process that had it mounted, if not with its last container; addresses are given back without it.
  absl::Status status = plugins_.Delete({id, "", ""}, os::ReadFile(directory + "/result", kMaxResult).value_or(""));
  status.Update(os::UnpinNetworkNamespace(directory + "/netns"));
  status.Update(os::RemoveTree(directory));
  if (!status.ok()) LogWarning("release the network ", id, " of an earlier run: ", status.message());
}

}  // namespace

absl::StatusOr<std::unique_ptr<NetworkProvider>> NewCniNetwork(const CniConfig& config, const std::string& state_dir) {
  ASSIGN_OR_RETURN(CniPlugins plugins, CniPlugins::Load(config));
  auto network = std::make_unique<CniNetwork>(std::move(plugins), config, state_dir);
  RETURN_IF_ERROR(network->Start());
  return network;
}

}  // namespace cachalot::runtime
