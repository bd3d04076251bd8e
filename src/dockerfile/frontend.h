// The Dockerfile frontend ("dockerfile.v0"): reads the Dockerfile through the bridge and compiles it to the build graph.
#pragma once

#include <memory>

#include "llb/frontend.h"

namespace cachalot::dockerfile {

// The version of the Dockerfile syntax that is understood, in the numbering of docker/dockerfile.
inline constexpr char kVersion[] = "1.26.0";

std::unique_ptr<llb::Frontend> NewFrontend();

}  // namespace cachalot::dockerfile
