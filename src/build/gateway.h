// Frontends that are not in this process: in the client, or in a container.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/guarded.h"
#include "build/bridge.h"
#include "build/engine.h"
#include "build/frontend_containers.h"

namespace cachalot::build {

class Gateway : public GatewayBuild {
 public:
  Gateway(const std::shared_ptr<BuildCore>& core, std::shared_ptr<RequestTrace> trace, std::map<std::string, llb::Definition> inputs)
      : Gateway(core, std::move(trace), std::move(inputs), core->cancel()) {}
  // `cancel` comes with the build's cancellation at the latest.
  Gateway(std::shared_ptr<BuildCore> core, std::shared_ptr<RequestTrace> trace, std::map<std::string, llb::Definition> inputs, CancelToken cancel)
      : core_(core),
        bridge_(core, std::move(trace), Bridge::Policies::kAll, std::move(cancel)),
        inputs_(std::move(inputs)),
        containers_(std::move(core)) {}

  llb::FrontendBridge& bridge() override { return bridge_; }
  void Return(absl::StatusOr<llb::FrontendResult> result) override;
  const std::map<std::string, llb::Definition>& inputs() const override { return inputs_; }
  std::string Keep(const llb::RefPtr& ref) override;
  absl::StatusOr<llb::RefPtr> Find(const std::string& id) override;
  absl::Status NewContainer(ContainerRequest request, const CancelToken& cancel) override;
  absl::StatusOr<ContainerPtr> FindContainer(const std::string& id) override { return containers_.Find(id); }
  absl::Status ReleaseContainer(const std::string& id) override { return containers_.Release(id); }

  // Blocks until the frontend has returned.
  absl::StatusOr<llb::FrontendResult> Wait(const CancelToken& cancel);
  // What it has returned, if it has.
  std::optional<absl::StatusOr<llb::FrontendResult>> returned() { return *returned_.Lock(); }
  // Lets go of all refs and containers: the frontend has ended.
  void Close();

 private:
  const std::shared_ptr<BuildCore> core_;
  Bridge bridge_;
  const std::map<std::string, llb::Definition> inputs_;
  Guarded<std::map<std::string, llb::RefPtr>> refs_;
  Guarded<std::optional<absl::StatusOr<llb::FrontendResult>>> returned_;
  FrontendContainers containers_;
};

}  // namespace cachalot::build
