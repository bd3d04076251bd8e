// The attestations that a client asks for, whatever the frontend makes of the request.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "build/build_core.h"
#include "build/provenance/predicate.h"
#include "build/provenance/request_trace.h"
#include "dockerfile/compile/config.h"
#include "export/exporter.h"
#include "llb/frontend.h"

namespace cachalot::build {

struct AttestRequest {
  std::optional<dockerfile::SbomRequest> sbom;
  std::optional<ProvenanceOptions> provenance;
};
// From the options "attest:<kind>" and "build-arg:BUILDKIT_ATTEST_<KIND>". INVALID_ARGUMENT for unknown kinds and values.
absl::StatusOr<AttestRequest> ParseAttestRequest(const std::map<std::string, std::string>& options);

// Has the trees of `result` scanned unless its frontend already did. `options` are the request's.
absl::Status AddSbom(const dockerfile::SbomRequest& request, const std::map<std::string, std::string>& options, llb::FrontendBridge& bridge,
                     llb::FrontendResult& result);

// What the trees of `result` were made from, by the index of their platform in `source`, which was made from it. Empty trees have no
// provenance.
absl::StatusOr<std::map<std::size_t, TreeProvenance>> TraceTrees(BuildCore& core, const RequestTrace& trace, const llb::FrontendResult& result,
                                                                 const exporting::Source& source);

// The predicate about a tree of `core` as of now. `with_layers`: in full mode it tells the layers of all steps, which counts as a use
// of what is cached of them.
absl::StatusOr<std::string> DescribeTree(const ProvenanceOptions& options, const BuildFacts& facts, BuildCore& core, const TreeProvenance& tree,
                                         bool with_layers);

// Adds an attestation for each tree; its predicate is made when it is read.
absl::Status AddProvenance(const ProvenanceOptions& options, const BuildFacts& facts, const std::shared_ptr<BuildCore>& core,
                           const std::map<std::size_t, TreeProvenance>& trees, exporting::Source& source);

}  // namespace cachalot::build
