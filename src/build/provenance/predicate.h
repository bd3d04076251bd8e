// SLSA provenance of a tree: who asked for what, what it was made from, and how.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "build/provenance/capture.h"
#include "build/provenance/request_trace.h"
#include "llb/op.h"
#include "oci/image.h"
#include "op/step_usage.h"

namespace cachalot::build {

// The attribute attest:provenance of a request.
struct ProvenanceOptions {
  bool slsa_v1 = true;              // false: v0.2
  bool max = true;                  // false: without the graph, and without what the client passed as arguments
  bool reproducible = false;        // the client's claim
  bool inline_only = false;         // for images only
  bool complete_materials = false;  // fail rather than leave out a material
  bool capture_usage = false;       // with what the steps took of the machine; in the graph
  std::string builder_id;
  std::string filename = "provenance.json";
};
absl::StatusOr<ProvenanceOptions> ParseProvenanceOptions(const std::map<std::string, std::string>& attrs);
std::string PredicateType(const ProvenanceOptions& options);

// What a predicate says of the build as a whole.
struct BuildFacts {
  std::string invocation_id;
  absl::Time started;
  std::string builder_platform;
  std::string dockerfile_version;  // of the built-in frontend
  int compatibility_version = 0;   // of the exporters' defaults
  std::string custom_environment;  // a JSON object of the daemon's configuration, or empty
};

// Everything about one tree.
struct TreeProvenance {
  std::shared_ptr<const RequestTrace> producer;
  Capture capture;
  llb::Edge edge;
};

// What is known of the graph's steps.
struct StepFacts {
  // The layers that an output consists of, lowest first; none where they are not known.
  std::function<std::vector<oci::Descriptor>(const llb::Vertex& vertex, int output)> layers;
  std::map<std::string, op::StepUsage> usages;  // by digests
};

// OK, or which materials are missing (FAILED_PRECONDITION), for builds that insist on knowing all.
absl::Status CheckMaterials(const Capture& capture);

absl::StatusOr<std::string> MakePredicate(const ProvenanceOptions& options, const BuildFacts& facts, const TreeProvenance& tree, absl::Time finished,
                                          const StepFacts& steps);

}  // namespace cachalot::build
