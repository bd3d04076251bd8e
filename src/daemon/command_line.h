// The command line of the daemon: buildkitd's flags.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "daemon/config.h"

namespace cachalot::daemon {

struct CommandLine {
  Settings settings;  // configuration file and flags, finished
  std::string print;  // not empty: --help or --version; print this and exit
};

// Reads the flags, and the configuration file they name (or the default one).
absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv);

}  // namespace cachalot::daemon
