// One build from request to response.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/guarded.h"
#include "build/attest.h"
#include "build/build_core.h"
#include "build/engine.h"
#include "build/gateway.h"
#include "export/exporter.h"
#include "op/environment.h"

namespace cachalot::build {

class BuildRun {
 public:
  // `parts`, `solver`, `frontends` and `producers` outlive the run; `config` is the engine's.
  BuildRun(const op::Parts& parts, solver::Solver& solver, const Config& config, const FrontendHost& frontends, const BuildRequest& request,
           ProducerIndex& producers, std::shared_ptr<solver::ProgressSink> progress, CancelToken cancel)
      : parts_(parts),
        solver_(solver),
        config_(config),
        frontends_(frontends),
        request_(request),
        progress_(std::move(progress)),
        cancel_(std::move(cancel)),
        trace_(RequestTrace::OfBuild({request.frontend, request.options, request.inputs}, &producers)) {}
  // Waits for what operations solve on the build's behalf: cancel it first.
  ~BuildRun();

  // `on_gateway` learns of the gateway when the client runs the frontend, as soon as it can be used.
  absl::StatusOr<BuildResponse> Run(const std::function<void(std::shared_ptr<Gateway>)>& on_gateway);

 private:
  absl::Status Check();
  absl::Status Prepare();
  absl::StatusOr<llb::FrontendResult> Evaluate(const std::function<void(std::shared_ptr<Gateway>)>& on_gateway);
  // Whatever is made of the result, it is solved here.
  absl::StatusOr<BuildResponse> Finish(llb::FrontendResult result);
  absl::StatusOr<exporting::Source> SolveForExport(const llb::FrontendResult& result);
  // What the record of the build needs: an exporter's image, and the provenance of all trees whether it was asked for or not.
  absl::Status NoteResult(int exporter, const std::map<std::string, std::string>& exported, BuildResponse& response);
  absl::Status NoteProvenance(const std::map<std::size_t, TreeProvenance>& trees, const exporting::Source& source, BuildResponse& response);
  // The ids by which a client that runs the frontend can look into the result while it chooses exporters.
  std::vector<std::string> ExportedRefs(const llb::FrontendResult& result);
  // What to export: as requested, then what the client asks for now that the result is known.
  absl::StatusOr<std::vector<ExportRequest>> ChooseExports(const exporting::Source& source, const std::vector<std::string>& refs);
  absl::Status Export(const exporting::Source& source, const std::vector<std::string>& refs, BuildResponse& response);
  // For builds without exports; otherwise the first one shows them.
  void ShowWarnings();
  // The keys of what was solved, for cache exports.
  std::vector<remotecache::ExportedOutput> OutputsOf(const llb::FrontendResult& result);

  const op::Parts& parts_;
  solver::Solver& solver_;
  const Config& config_;
  const FrontendHost& frontends_;
  const BuildRequest& request_;
  const std::shared_ptr<solver::ProgressSink> progress_;
  const CancelToken cancel_;
  const std::shared_ptr<RequestTrace> trace_;
  AttestRequest attest_;
  BuildFacts facts_;
  std::vector<std::string> warnings_;  // about the platforms of the result
  Entitlements entitlements_;
  std::shared_ptr<BuildCore> core_;
  std::shared_ptr<Gateway> gateway_;
  std::shared_ptr<op::KeptTrees> kept_trees_;                                      // null without a frontend
  const std::shared_ptr<Guarded<int>> nested_ = std::make_shared<Guarded<int>>();  // graphs that operations are solving
};

}  // namespace cachalot::build
