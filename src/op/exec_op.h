// Exec operations: a process in a container, over trees.
#pragma once

#include <string>
#include <vector>

#include "op/environment.h"
#include "op/selectors.h"
#include "runtime/runtime.h"
#include "solver/solver.h"

namespace cachalot::op {

class ExecMounts;

class ExecOperation : public solver::Operation {
 public:
  ExecOperation(llb::VertexPtr vertex, EnvironmentPtr environment);
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;

 private:
  struct InputUse {
    std::vector<std::string> selectors;
    bool content = false;
  };
  absl::StatusOr<std::vector<InputUse>> UsesOfInputs() const;
  absl::StatusOr<runtime::DeviceEdits> Devices() const;
  absl::StatusOr<runtime::ContainerSpec> DescribeContainer(const ExecMounts& mounts, const CancelToken& cancel) const;
  absl::StatusOr<runtime::ExitStatus> RunContainer(runtime::ContainerSpec& spec, const solver::OpContext& context) const;
  bool Succeeded(const runtime::ExitStatus& exit) const;
  absl::Status RunProcess(const ExecMounts& mounts, const solver::OpContext& context) const;
  const oci::Platform& platform() const { return vertex_->platform.has_value() ? *vertex_->platform : environment_->platform; }

  const llb::VertexPtr vertex_;
  const EnvironmentPtr environment_;
  const llb::ExecOp& op_;
};

// `text` in double quotes as Go's %q prints it.
std::string GoQuote(absl::string_view text);

}  // namespace cachalot::op
