// What a build offers its frontend.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "build/build_core.h"
#include "build/provenance/request_trace.h"
#include "llb/frontend.h"
#include "op/source_tree.h"

namespace cachalot::build {

class Bridge : public llb::FrontendBridge {
 public:
  // Which source policies metadata is subject to: the client's verifier must not be asked about what it asks itself.
  enum class Policies { kAll, kRules };
  // `trace` remembers what is asked for through this bridge; may be null for what is no frontend's business.
  Bridge(const std::shared_ptr<BuildCore>& core, std::shared_ptr<RequestTrace> trace, Policies policies = Policies::kAll)
      : Bridge(core, std::move(trace), policies, core->cancel()) {}
  // `cancel` comes with the build's cancellation at the latest.
  Bridge(std::shared_ptr<BuildCore> core, std::shared_ptr<RequestTrace> trace, Policies policies, CancelToken cancel)
      : core_(std::move(core)), trace_(std::move(trace)), policies_(policies), cancel_(std::move(cancel)) {}

  absl::StatusOr<llb::FrontendResult> Solve(const llb::SolveRequest& request) override;
  absl::StatusOr<llb::ResolvedImage> ResolveImage(const std::string& ref, const llb::ResolveOptions& options) override;
  absl::StatusOr<llb::ResolvedSource> ResolveSource(const llb::SourceOp& source, const llb::ResolveOptions& options) override;
  absl::StatusOr<std::string> ReadFile(const llb::RefPtr& ref, const std::string& path, std::int64_t offset, std::int64_t length) override;
  absl::StatusOr<std::vector<llb::FileStat>> ReadDir(const llb::RefPtr& ref, const std::string& path, const std::string& include_pattern) override;
  absl::StatusOr<llb::FileStat> StatFile(const llb::RefPtr& ref, const std::string& path) override;
  void Warn(solver::WarningEvent warning) override { core_->environment()->progress->OnWarning(std::move(warning)); }
  oci::Platform default_platform() const override { return core_->environment()->platform; }
  std::string session() const override;
  CancelToken cancel() const override { return cancel_; }

 private:
  absl::StatusOr<llb::FrontendResult> RunFrontend(const llb::SolveRequest& request);
  absl::Status ApplyPolicy(llb::SourceOp& source, const llb::ResolveOptions& options);
  // A source that the policies have let through.
  absl::StatusOr<llb::ResolvedSource> ResolveAllowed(const llb::SourceOp& source, const llb::ResolveOptions& options);
  // The ref's tree, with its files there. It lives while `hold` does.
  absl::StatusOr<std::unique_ptr<op::SourceTree>> Files(const llb::RefPtr& ref, solver::ResultPtr& hold);

  const std::shared_ptr<BuildCore> core_;
  const std::shared_ptr<RequestTrace> trace_;
  const Policies policies_;
  const CancelToken cancel_;
};

// Solves all refs of a result at once; their trees in the order of the refs.
absl::StatusOr<std::vector<solver::ResultPtr>> SolveAll(BuildCore& core, const std::vector<llb::RefPtr>& refs, const CancelToken& cancel);

}  // namespace cachalot::build
