// Builds whose frontend runs in the client.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/guarded.h"
#include "build/bridge.h"
#include "build/engine.h"

namespace cachalot::build {

class Gateway : public GatewayBuild {
 public:
  Gateway(std::shared_ptr<BuildCore> core, std::shared_ptr<RequestTrace> trace, std::map<std::string, llb::Definition> inputs)
      : bridge_(std::move(core), std::move(trace)), inputs_(std::move(inputs)) {}

  llb::FrontendBridge& bridge() override { return bridge_; }
  void Return(absl::StatusOr<llb::FrontendResult> result) override;
  const std::map<std::string, llb::Definition>& inputs() const override { return inputs_; }
  std::string Keep(const llb::RefPtr& ref) override;
  absl::StatusOr<llb::RefPtr> Find(const std::string& id) override;

  // Blocks until the client's frontend has returned.
  absl::StatusOr<llb::FrontendResult> Wait(const CancelToken& cancel);
  // Lets go of all refs: the build has ended.
  void Close();

 private:
  Bridge bridge_;
  const std::map<std::string, llb::Definition> inputs_;
  Guarded<std::map<std::string, llb::RefPtr>> refs_;
  Guarded<std::optional<absl::StatusOr<llb::FrontendResult>>> returned_;
};

}  // namespace cachalot::build
