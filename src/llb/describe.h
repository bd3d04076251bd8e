// A build graph in the JSON that provenance has it in: Go's form of the protocol's messages.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/status.h"
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

// {"<digest>": "step0", ...}
nlohmann::ordered_json DigestMapping(const StepNumbers& numbers);

}  // namespace cachalot::llb
