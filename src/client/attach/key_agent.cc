#include "client/attach/key_agent.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "os/run.h"

namespace cachalot::client {
namespace {

// The agent prints its socket's name once it listens there.
absl::Status AwaitFirstOutput(int fd) {
  char byte = 0;
  ssize_t got = 0;
  do {
    got = read(fd, &byte, 1);
  } while (got < 0 && errno == EINTR);
  return got == 1 ? absl::OkStatus() : absl::UnavailableError("ssh-agent ended before it listened");
}

}  // namespace

absl::StatusOr<std::unique_ptr<KeyAgent>> KeyAgent::Start(const std::vector<std::string>& key_files) {
  ASSIGN_OR_RETURN(TemporaryDirectory directory, TemporaryDirectory::Create());
  std::string socket = directory.path() + "/agent";
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError("pipe");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  os::Command command;
  command.argv = {"ssh-agent", "-D", "-a", socket};
  command.stdout_fd = write_end.get();
  command.new_session = true;
  absl::StatusOr<os::ChildProcess> process = os::Spawner::Shared().Spawn(command);
  if (!process.ok()) return Annotate(process.status(), "an SSH key file needs the program ssh-agent");
  write_end.reset();
  RETURN_IF_ERROR(AwaitFirstOutput(read_end.get()));
  auto agent = std::unique_ptr<KeyAgent>(new KeyAgent(std::move(directory), std::move(socket), *std::move(process)));
  for (const std::string& file : key_files) {
    RETURN_IF_ERROR(agent->Add(file));
  }
  return agent;
}

absl::Status KeyAgent::Add(const std::string& key_file) const {
  const UniqueFd file(open(key_file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return ErrnoError(absl::StrCat("open ", key_file));
  os::Command command;
  // From its standard input ssh-add takes a key whatever the mode of the file.
  command.argv = {"ssh-add", "-q", "-"};
  const char* path = std::getenv("PATH");
  command.env = {absl::StrCat("SSH_AUTH_SOCK=", socket_), absl::StrCat("PATH=", path == nullptr ? "/usr/bin:/bin" : path)};
  command.stdin_fd = file.get();
  ASSIGN_OR_RETURN(const os::RunResult result, os::Run(std::move(command), {}, CancelToken()));
  if (result.exit.code == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(key_file, " is no private key that can be used without a passphrase: ", std::string(absl::StripAsciiWhitespace(result.err))));
}

}  // namespace cachalot::client
