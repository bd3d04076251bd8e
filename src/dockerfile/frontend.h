// The Dockerfile frontend ("dockerfile.v0"): reads the Dockerfile through the bridge and compiles it to the build graph.
#pragma once

#include <memory>

#include "llb/frontend.h"

namespace cachalot::dockerfile {

std::unique_ptr<llb::Frontend> NewFrontend();

}  // namespace cachalot::dockerfile
