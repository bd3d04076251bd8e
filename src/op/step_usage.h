// What the steps of one build took of the machine.
#pragma once

#include <map>
#include <string>

#include "absl/time/time.h"
#include "base/guarded.h"
#include "runtime/runtime.h"

namespace cachalot::op {

struct StepUsage {
  runtime::ResourceUsage resources;
  absl::Time ended;
};

// By the digests of the steps' vertices; those that were found cached have none. Shared by the steps of one build.
using StepUsages = Guarded<std::map<std::string, StepUsage>>;

}  // namespace cachalot::op
