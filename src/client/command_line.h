// The command line of `cachalot`.
#pragma once

namespace cachalot::client {

// Parses, runs the command, and returns the exit code.
int RunCommandLine(int argc, const char* const* argv);

}  // namespace cachalot::client
