// cachalot: builds container images, with an engine of its own or a daemon's.
#include <cstdlib>

#include "client/command_line.h"

int main(int argc, char** argv) {
  setenv("GRPC_ENABLE_FORK_SUPPORT", "false", 1);
  return cachalot::client::RunCommandLine(argc, argv);
}
