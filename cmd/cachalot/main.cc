// cachalot: builds container images, with an engine of its own or a daemon's.
#include <google/protobuf/stubs/logging.h>

#include <cstdlib>

#include "client/command_line.h"
#include "os/process.h"

int main(int argc, char** argv) {
  cachalot::os::OpenStandardDescriptors();
  setenv("GRPC_ENABLE_FORK_SUPPORT", "false", 1);
  google::protobuf::SetLogHandler(nullptr);  // it would print into the progress display
  return cachalot::client::RunCommandLine(argc, argv);
}
