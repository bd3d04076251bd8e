#include "runtime/tool.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"

namespace cachalot::runtime {
namespace {

constexpr std::size_t kMaxBinary = 64 << 20;
constexpr std::size_t kMaxLog = 1 << 20;

// Both programs guard against being overwritten from within a container: unless they run from a sealed memory file, they copy
// themselves and start again, each time. Invalid when the binary is a script or cannot be copied.
UniqueFd SealedCopy(const std::string& binary) {
  absl::StatusOr<std::string> content = os::ReadFile(binary, kMaxBinary);
  if (!content.ok() || !absl::StartsWith(*content, "\177ELF")) return UniqueFd();
  UniqueFd memory(::memfd_create("oci-runtime", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.valid() || !os::WriteAll(memory.get(), *content, "memory file").ok()) return UniqueFd();
  if (::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) return UniqueFd();
  // A file that is open for writing cannot be executed.
  absl::StatusOr<UniqueFd> read_only = os::Open(os::DescriptorPath(memory.get()), O_RDONLY);
  return read_only.ok() ? *std::move(read_only) : UniqueFd();
}

absl::StatusOr<std::unique_ptr<os::Spawner>> MakeSpawner() {
  absl::StatusOr<std::unique_ptr<os::Spawner>> spawner = os::Spawner::Create(os::Containment::kPidNamespace);
  if (spawner.ok()) return spawner;
  LogWarning("containers will outlive a crash until the next start: ", spawner.status().message());
  return os::Spawner::Create(os::Containment::kParentDeath);
}

// runc's format: an object per line, with the level.
std::string JsonMessage(absl::string_view line) {
  nlohmann::json entry = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
  if (!entry.is_object() || !entry.contains("msg") || !entry["msg"].is_string()) return "";
  if (entry.contains("level") && entry["level"] != "error" && entry["level"] != "fatal") return "";
  return entry["msg"].get<std::string>();
}

bool Exists(const std::string& path) { return os::Lstat(path).ok(); }

}  // namespace

absl::StatusOr<std::unique_ptr<Tool>> Tool::Find(const std::string& binary, const std::string& root) {
  std::unique_ptr<Tool> tool(new Tool);
  absl::StatusOr<std::string> found = os::FindProgram(binary);
  if (!found.ok())
    return absl::FailedPreconditionError(absl::StrCat(binary, " was not found on PATH: build steps run in it; install the package ", binary));
  tool->binary_ = *found;
  tool->root_ = root;
  tool->is_crun_ = !absl::StrContains(found->substr(found->rfind('/') + 1), "runc");
  tool->program_ = SealedCopy(*found);
  ASSIGN_OR_RETURN(tool->spawner_, MakeSpawner());
  return tool;
}

os::Command Tool::MakeCommand(const std::string& log, std::vector<std::string> arguments) const {
  os::Command command;
  command.argv = {binary_, "--root", root_, "--log", is_crun_ ? absl::StrCat("file:", log) : log, "--log-format", is_crun_ ? "text" : "json"};
  if (is_crun_) command.argv.push_back("--cgroup-manager=cgroupfs");
  command.argv.insert(command.argv.end(), std::make_move_iterator(arguments.begin()), std::make_move_iterator(arguments.end()));
  command.env = std::vector<std::string>{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  command.program_fd = program_.get();
  command.new_session = true;
  return command;
}

std::string Tool::StartedFile(const std::string& id) const { return absl::StrCat(root_, "/", id, is_crun_ ? "/status" : "/state.json"); }

absl::Status Tool::AwaitFile(const std::string& file, const os::ChildProcess& process, const CancelToken& cancel) {
  const std::string directory = DirName(file), parent = DirName(directory);
  UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)), wake(::eventfd(0, EFD_CLOEXEC));
  if (!watch.valid() || !wake.valid()) return ErrnoError("inotify");
  if (::inotify_add_watch(watch.get(), parent.c_str(), IN_CREATE) < 0) return ErrnoError(absl::StrCat("watch ", parent));
  CancelToken::Registration registration = cancel.OnCancel([&] {
    std::uint64_t one = 1;
    (void)!::write(wake.get(), &one, sizeof one);
  });
  while (true) {
    (void)::inotify_add_watch(watch.get(), directory.c_str(), IN_CREATE | IN_MOVED_TO);
    if (Exists(file)) return absl::OkStatus();
    struct pollfd events[3] = {{watch.get(), POLLIN, 0}, {process.pidfd(), POLLIN, 0}, {wake.get(), POLLIN, 0}};
    if (::poll(events, 3, -1) < 0 && errno != EINTR) return ErrnoError("poll");
    if (events[2].revents != 0) return cancel.status();
    if (events[1].revents != 0) return absl::FailedPreconditionError("it has stopped");
    char buffer[4096];
    while (::read(watch.get(), buffer, sizeof buffer) > 0) {
    }
  }
}

std::string Tool::LastError(const std::string& log) const {
  std::string text = os::ReadFile(log, kMaxLog).value_or(""), last;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    // crun's JSON would show in the step's own output, where it says why a program cannot be executed; its text holds errors alone.
    std::string message = is_crun_ ? std::string(line) : JsonMessage(line);
    if (!message.empty()) last = std::move(message);
  }
  return last;
}

void Tool::Forget(const std::string& id) const {
  absl::Status status = os::RemoveTree(absl::StrCat(root_, "/", id));
  if (!status.ok()) LogWarning("remove the state of container ", id, ": ", status.message());
}

}  // namespace cachalot::runtime
