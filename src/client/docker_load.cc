#include "client/docker_load.h"

#include <fcntl.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "os/file.h"
#include "os/process.h"

namespace cachalot::client {

namespace {

class DockerLoad final : public OutputSink {
 public:
  explicit DockerLoad(std::string program) : program_(std::move(program)) {}

  absl::Status Start() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
      return ErrnoError("pipe");
    }
    const UniqueFd read_end(ends[0]);
    write_end_.reset(ends[1]);
    os::Command command;
    command.argv = {program_, "load"};
    command.stdin_fd = read_end.get();
    command.stdout_fd = STDERR_FILENO;
    command.stderr_fd = STDERR_FILENO;
    ASSIGN_OR_RETURN(os::ChildProcess process, os::Spawner::Shared().Spawn(command));
    process_.emplace(std::move(process));
    return absl::OkStatus();
  }
  absl::Status Write(absl::string_view bytes) override { return os::WriteAll(write_end_.get(), bytes, "docker load"); }
  absl::Status Close() override {
    write_end_.reset();
    ASSIGN_OR_RETURN(const os::ProcessExit exit, process_->Wait());
    return exit.code == 0 ? absl::OkStatus() : absl::UnknownError(absl::StrCat("docker load failed with exit code ", exit.code));
  }

 private:
  const std::string program_;
  UniqueFd write_end_;
  std::optional<os::ChildProcess> process_;
};

}  // namespace

absl::StatusOr<Output> DockerLoadOutput(int exporter_id) {
  const auto program = os::FindProgram("docker");
  if (!program.ok()) {
    return absl::NotFoundError(
        "--load needs the docker client to load the image with, and there is none; write an archive with "
        "--output type=docker,dest=FILE");
  }
  Output output;
  output.exporter_id = exporter_id;
  output.open = [program = *program](const std::map<std::string, std::string>&) -> absl::StatusOr<std::unique_ptr<OutputSink>> {
    auto sink = std::make_unique<DockerLoad>(program);
    RETURN_IF_ERROR(sink->Start());
    return sink;
  };
  return output;
}

}  // namespace cachalot::client
