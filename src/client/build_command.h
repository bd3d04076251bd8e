// `cachalot build`.
#pragma once

#include "client/build_options.h"
#include "client/connection.h"

namespace cachalot::client {

// Runs the build, shows its progress on stderr, and reports. Returns the exit code.
int RunBuild(const BuildOptions& options, const ConnectOptions& connect);

}  // namespace cachalot::client
