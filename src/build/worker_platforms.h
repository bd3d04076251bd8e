// The platforms whose programs steps can run here.
#pragma once

#include <vector>

#include "oci/platform.h"

namespace cachalot::build {

// The host's first, then what else the processor and the kernel run, by themselves or with emulators that binfmt_misc knows. In a fixed order.
std::vector<oci::Platform> RunnablePlatforms();

}  // namespace cachalot::build
