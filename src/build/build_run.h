// One build from request to response.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/guarded.h"
#include "build/build_core.h"
#include "build/engine.h"
#include "build/gateway.h"
#include "op/environment.h"

namespace cachalot::build {

class BuildRun {
 public:
  // `parts` and `solver` outlive the run; `config` is the engine's.
  BuildRun(const op::Parts& parts, solver::Solver& solver, const Config& config, const BuildRequest& request,
           std::shared_ptr<solver::ProgressSink> progress, CancelToken cancel)
      : parts_(parts), solver_(solver), config_(config), request_(request), progress_(std::move(progress)), cancel_(std::move(cancel)) {}
  // Waits for what operations solve on the build's behalf: cancel it first.
  ~BuildRun();

  // `on_gateway` learns of the gateway when the client runs the frontend, as soon as it can be used.
  absl::StatusOr<BuildResponse> Run(const std::function<void(std::shared_ptr<Gateway>)>& on_gateway);

 private:
  absl::Status Check();
  absl::Status Prepare();
  absl::StatusOr<llb::FrontendResult> Evaluate(const std::function<void(std::shared_ptr<Gateway>)>& on_gateway);
  absl::StatusOr<BuildResponse> Export(const llb::FrontendResult& result);
  void WarnOfCacheImports();

  const op::Parts& parts_;
  solver::Solver& solver_;
  const Config& config_;
  const BuildRequest& request_;
  const std::shared_ptr<solver::ProgressSink> progress_;
  const CancelToken cancel_;
  Entitlements entitlements_;
  std::shared_ptr<BuildCore> core_;
  std::shared_ptr<Gateway> gateway_;
  const std::shared_ptr<Guarded<int>> nested_ = std::make_shared<Guarded<int>>();  // graphs that operations are solving
};

}  // namespace cachalot::build
