// A step whose network is proxied: a network namespace with nothing but the proxy in it, and the proxy trusted by the step's programs.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "op/proxy/authority.h"
#include "op/proxy/ca_bundle.h"
#include "op/proxy/exec_proxy.h"
#include "runtime/runtime.h"
#include "solver/progress.h"

namespace cachalot::op {

// What all proxied steps share. Thread-safe.
class ProxiedSteps {
 public:
  // `directory` exists and is ours alone: namespaces are pinned there.
  ProxiedSteps(runtime::Runtime* runtime, std::string directory) : runtime_(runtime), directory_(std::move(directory)) {}

  class Step {
   public:
    ~Step();
    // To be called after the step's end, before its root file system is committed: leaves nothing of ours in it, tells in the step's
    // log what was asked for, and returns that.
    absl::StatusOr<std::vector<ProxyRecord>> Finish(solver::OpProgress& progress);

   private:
    friend class ProxiedSteps;
    std::string namespace_path_;
    std::unique_ptr<runtime::ContainerNetwork> egress_;
    std::unique_ptr<ExecProxy> proxy_;
    AddedCertificate certificate_;
  };

  // Makes `spec`, whose rootfs is mounted, a proxied one; its requests go on as if the container were on spec.network.
  absl::StatusOr<std::unique_ptr<Step>> Start(runtime::ContainerSpec& spec, ProxyCheck check);

 private:
  absl::StatusOr<ProxyAuthority*> Authority();

  runtime::Runtime* const runtime_;
  const std::string directory_;
  std::mutex mutex_;
  std::unique_ptr<ProxyAuthority> authority_;  // made at the first need
};

}  // namespace cachalot::op
