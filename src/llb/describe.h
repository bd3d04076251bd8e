// A build graph in JSON, for provenance and for those who ask for the graph itself: Go's form of the protocol's messages.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "llb/definition.h"

namespace cachalot::llb {

// The number of each vertex among the steps, by its digest.
using StepNumbers = std::map<std::string, int>;

// Appends a step for every operation that the definition's last one needs, inputs first, and that one: {"id": "step1", "op": {...},
// "inputs": ["step0:0"]}. What names the client's session is left out. `definition` was checked before. Nothing for scratch.
absl::Status DescribeSteps(const Definition& definition, nlohmann::ordered_json& steps, StepNumbers& numbers);

// The source files of the definition as {"locations": {"step0": ...}, "infos": [...]}; null when it has none. `numbers` are those of
// its steps.
absl::Status DescribeSources(const Definition& definition, const StepNumbers& numbers, nlohmann::ordered_json& sources);

// The definition as {"def": {"<digest>": {...}}, "metadata": {"<digest>": {...}}, "source": {...}}: operations and source in protobuf's own
// JSON, metadata in Go's. INVALID_ARGUMENT for what is no definition.
absl::StatusOr<nlohmann::ordered_json> DescribeDefinition(const Definition& definition);

// The definition in Go's form of the protocol's message, operations as their bytes. INVALID_ARGUMENT for what is no definition.
absl::StatusOr<nlohmann::ordered_json> DefinitionJson(const Definition& definition);

// {"<digest>": "step0", ...}
nlohmann::ordered_json DigestMapping(const StepNumbers& numbers);

}  // namespace cachalot::llb
