// cachalotd: the build daemon. Speaks BuildKit's API; takes buildkitd's flags and configuration.
#include <google/protobuf/stubs/logging.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "base/log.h"
#include "base/status_macros.h"
#include "build/engine.h"
#include "daemon/command_line.h"
#include "daemon/server.h"
#include "daemon/stop_signal.h"
#include "os/memory.h"
#include "os/mount.h"
#include "os/process.h"

namespace cachalot {
namespace {

void SetUpLog(const daemon::Settings& settings) {
  const std::string& level = settings.log_level;
  SetLogLevel(level == "debug" || level == "trace"    ? LogLevel::kDebug
              : level == "warn" || level == "warning" ? LogLevel::kWarning
              : level == "error"                      ? LogLevel::kError
                                                      : LogLevel::kInfo);
  for (const std::string& name : settings.ignored) {
    LogInfo("setting ", name, " is known but has no effect");
  }
}

absl::Status Run(const daemon::Settings& settings, daemon::StopSignal& stop) {
  if (::geteuid() != 0) return absl::PermissionDeniedError("cachalotd needs root");
  RETURN_IF_ERROR(os::EnterPrivateMountNamespace());
  ASSIGN_OR_RETURN(const auto engine, build::Engine::Open(settings.engine));
  ASSIGN_OR_RETURN(const auto server, daemon::Server::Start(settings.server, *engine));
  daemon::NotifyServiceManager("READY=1");
  if (const absl::Status status = os::ReleaseFilePages(); !status.ok()) LogWarning("memory: ", status.message());
  stop.Wait();
  LogInfo("stopping server");
  daemon::NotifyServiceManager("STOPPING=1");
  server->Shutdown();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  os::OpenStandardDescriptors();
  os::LimitHeaps();
  setenv("GRPC_ENABLE_FORK_SUPPORT", "false", 1);
  google::protobuf::SetLogHandler(nullptr);  // it would print what clients send
  const auto command_line = daemon::ParseCommandLine(argc, argv);
  if (!command_line.ok()) {
    std::cerr << argv[0] << ": " << command_line.status().message() << "\n";
    return 1;
  }
  if (!command_line->print.empty()) {
    std::cout << command_line->print;
    return 0;
  }
  SetUpLog(command_line->settings);
  daemon::StopSignal stop;
  if (const absl::Status status = Run(command_line->settings, stop); !status.ok()) {
    LogError(status.message());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace cachalot

int main(int argc, char** argv) { return cachalot::Main(argc, argv); }
