#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "os/file.h"
#include "os/process.h"

extern char** environ;
// clone(2) by the name that ThreadSanitizer does not take for a fork: the child shares our memory.
extern "C" int __clone(int (*run)(void*), void* stack, int flags, void* argument, ...) noexcept;

namespace cachalot::os {
namespace {

constexpr std::size_t kStackSize = 256 * 1024;

enum class Place {
  kHere,           // the spawning thread's namespaces; the parent is seen from there
  kInNamespace,    // the same, where the parent is not seen from
  kNamespaceInit,  // the first process of a new PID namespace, with a mount namespace where /proc shows it
};

// What the child needs between clone and exec, made ready beforehand: it must not allocate.
struct Launch {
  const char* program;
  int program_fd;  // or -1
  char* const* argv;
  char* const* envp;
  const char* cwd;  // or null
  const int* fds;   // become 0, 1, 2, ...; not negative
  int fd_count;
  bool new_session;
  int umask;  // or -1
  Place place;
  pid_t parent;
  // Set by the child when it fails; it shares our memory.
  int error = 0;
  const char* step = "";
};

int Failed(Launch* launch, const char* step) {
  launch->error = errno;
  launch->step = step;
  return 127;
}

// The child leaves its stack by exec, which no sanitizer sees: it would take the next child's use of that stack for an error.
#define CACHALOT_ON_CHILD_STACK __attribute__((no_sanitize("address")))

// By the system call: the C library keeps 32 and 33 to itself, which a parent of ours may have set to be ignored.
CACHALOT_ON_CHILD_STACK void RestoreDefaultSignals() {
  constexpr int kLastSignal = 64;
  constexpr std::size_t kSignalSetBytes = 8;
  const unsigned long action[4] = {};  // the kernel's struct sigaction: SIG_DFL is 0
  for (int signal = 1; signal <= kLastSignal; ++signal) ::syscall(SYS_rt_sigaction, signal, action, nullptr, kSignalSetBytes);
}

// Runs in the child, on a stack of its own, in our memory, while the spawning thread stands still: system calls only.
CACHALOT_ON_CHILD_STACK int RunChild(void* argument) {
  auto* launch = static_cast<Launch*>(argument);
  RestoreDefaultSignals();
  if (launch->place == Place::kNamespaceInit) {
    // Orphans of the namespace become its children; ignoring their signal reaps them.
    struct sigaction action = {};
    action.sa_handler = SIG_IGN;
    ::sigaction(SIGCHLD, &action, nullptr);
    // Slave: what is mounted on it does not come back to us.
    if (::mount(nullptr, "/proc", nullptr, MS_SLAVE, nullptr) != 0) return Failed(launch, "make /proc a slave mount");
    if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) return Failed(launch, "mount /proc");
  }
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return Failed(launch, "set the parent-death signal");
  if (launch->place == Place::kHere && ::getppid() != launch->parent) return 127;
  if (launch->new_session) ::setsid();
  if (launch->umask >= 0) ::umask(static_cast<mode_t>(launch->umask));
  if (launch->cwd != nullptr && ::chdir(launch->cwd) != 0) return Failed(launch, "chdir");
  if (launch->program_fd >= 0 && launch->program_fd < launch->fd_count) {
    launch->program_fd = ::fcntl(launch->program_fd, F_DUPFD_CLOEXEC, launch->fd_count);
    if (launch->program_fd < 0) return Failed(launch, "dup");
  }
  int moved[64];
  for (int i = 0; i < launch->fd_count; ++i) {
    // Out of the way of the numbers to be assigned.
    moved[i] = launch->fds[i] < launch->fd_count ? ::fcntl(launch->fds[i], F_DUPFD_CLOEXEC, launch->fd_count) : launch->fds[i];
    if (moved[i] < 0) return Failed(launch, "dup");
  }
  for (int i = 0; i < launch->fd_count; ++i) {
    if (::dup2(moved[i], i) < 0) return Failed(launch, "dup2");
  }
  ::syscall(SYS_close_range, launch->fd_count, ~0U, CLOSE_RANGE_CLOEXEC);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (launch->program_fd >= 0)
    ::syscall(SYS_execveat, launch->program_fd, "", launch->argv, launch->envp, AT_EMPTY_PATH);
  else
    ::execve(launch->program, launch->argv, launch->envp);
  return Failed(launch, "exec");
}

// Whether mounts made later reach copies of this mount namespace.
absl::StatusOr<bool> RootIsShared() {
  constexpr std::size_t kMaxMountInfo = 64 << 20;
  ASSIGN_OR_RETURN(std::string mounts, ReadFile("/proc/thread-self/mountinfo", kMaxMountInfo));
  for (absl::string_view line : absl::StrSplit(mounts, '\n')) {
    std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
    // ... fifth the mount point, sixth options, then tags up to "-".
    if (fields.size() < 7 || fields[4] != "/") continue;
    for (std::size_t i = 6; i < fields.size() && fields[i] != "-"; ++i) {
      if (absl::StartsWith(fields[i], "shared:")) return true;
    }
  }
  return false;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// The spawning thread's tools: /dev/null and the stack that children start on.
class Launcher {
 public:
  absl::Status Init() {
    null_.reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null_.valid()) return ErrnoError("open /dev/null");
    void* stack = ::mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) return ErrnoError("allocate a stack");
    stack_ = stack;
    return absl::OkStatus();
  }
  ~Launcher() {
    if (stack_ != nullptr) ::munmap(stack_, kStackSize);
  }

  absl::StatusOr<ChildProcess> Start(const Command& command, Place place) {
    if (command.argv.empty()) return absl::InvalidArgumentError("spawn: no program");
    if (command.extra_fds.size() > 32) return absl::InvalidArgumentError("spawn: too many descriptors");
    std::string program = command.argv[0];
    if (command.program_fd < 0) {
      ASSIGN_OR_RETURN(program, FindProgram(program));
    }
    std::vector<char*> argv = Pointers(command.argv);
    std::vector<char*> env = command.env.has_value() ? Pointers(*command.env) : std::vector<char*>();
    std::vector<int> fds = {command.stdin_fd, command.stdout_fd, command.stderr_fd};
    fds.insert(fds.end(), command.extra_fds.begin(), command.extra_fds.end());
    for (int& fd : fds) {
      if (fd < 0) fd = null_.get();
    }
    Launch launch{.program = program.c_str(),
                  .program_fd = command.program_fd,
                  .argv = argv.data(),
                  .envp = command.env.has_value() ? env.data() : environ,
                  .cwd = command.cwd.empty() ? nullptr : command.cwd.c_str(),
                  .fds = fds.data(),
                  .fd_count = static_cast<int>(fds.size()),
                  .new_session = command.new_session,
                  .umask = command.umask,
                  .place = place,
                  .parent = ::getpid()};
    return Clone(launch, program);
  }

 private:
  absl::StatusOr<ChildProcess> Clone(Launch& launch, const std::string& program) {
    int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
    if (launch.place == Place::kNamespaceInit) flags |= CLONE_NEWPID | CLONE_NEWNS;
    int pidfd = -1;
    // No handler of ours may run in the child, which shares our memory.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before);
    pid_t pid = ::__clone(RunChild, static_cast<char*>(stack_) + kStackSize, flags, &launch, &pidfd);
    int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) return ErrnoError(absl::StrCat("start ", program), error);
    ChildProcess child(pid, UniqueFd(pidfd));
    if (launch.error != 0) return ErrnoError(absl::StrCat("start ", program, ": ", launch.step), launch.error);
    return child;
  }

  UniqueFd null_;
  void* stack_ = nullptr;
};

}  // namespace

// Lives as long as the spawner: children's parent-death signal is tied to it.
class Spawner::Thread {
 public:
  explicit Thread(Containment containment) : containment_(containment), thread_(NewThread([this] { Loop(); })) {}

  ~Thread() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  // The outcome of the thread's own preparations.
  absl::Status Ready() {
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return ready_; });
    return status_;
  }

  absl::StatusOr<ChildProcess> Spawn(const Command& command) {
    Request request{&command, std::nullopt};
    std::unique_lock<std::mutex> lock(mutex_);
    queue_.push_back(&request);
    wake_.notify_one();
    done_.wait(lock, [&] { return request.result.has_value(); });
    return *std::move(request.result);
  }

 private:
  struct Request {
    const Command* command;
    std::optional<absl::StatusOr<ChildProcess>> result;
  };

  absl::Status Prepare() {
    ::pthread_setname_np(::pthread_self(), "spawner");
    RETURN_IF_ERROR(launcher_.Init());
    if (containment_ != Containment::kPidNamespace) return absl::OkStatus();
    // Without propagation the members would see no mount that is made later, and keep those alive that are unmounted.
    ASSIGN_OR_RETURN(bool shared, RootIsShared());
    if (!shared) return absl::FailedPreconditionError("mounts are not shared: EnterPrivateMountNamespace() has not been called");
    ASSIGN_OR_RETURN(ChildProcess init,
                     launcher_.Start(Command{.argv = {"sleep", "infinity"}, .env = std::vector<std::string>(), .cwd = "/"}, Place::kNamespaceInit));
    if (::unshare(CLONE_FS) != 0) return ErrnoError("unshare the working directory");
    // From now on this thread's children are members of the PID namespace; the mount namespace is the thread's own as well.
    if (::setns(init.pidfd(), CLONE_NEWPID | CLONE_NEWNS) != 0) return ErrnoError("enter a PID namespace");
    init_.emplace(std::move(init));
    return absl::OkStatus();
  }

  void Loop() {
    absl::Status status = Prepare();
    std::unique_lock<std::mutex> lock(mutex_);
    status_ = std::move(status);
    ready_ = true;
    done_.notify_all();
    while (true) {
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) break;
      Request* request = queue_.front();
      queue_.pop_front();
      lock.unlock();
      absl::StatusOr<ChildProcess> result =
          launcher_.Start(*request->command, containment_ == Containment::kPidNamespace ? Place::kInNamespace : Place::kHere);
      lock.lock();
      request->result.emplace(std::move(result));
      done_.notify_all();
    }
    lock.unlock();
    init_.reset();  // takes everything in the namespace along
  }

  const Containment containment_;
  Launcher launcher_;                 // the thread's own
  std::optional<ChildProcess> init_;  // the thread's own
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::deque<Request*> queue_;
  absl::Status status_;
  bool ready_ = false, stopping_ = false;
  std::thread thread_;
};

Spawner::Spawner(std::unique_ptr<Thread> thread) : thread_(std::move(thread)) {}
Spawner::~Spawner() = default;

absl::StatusOr<std::unique_ptr<Spawner>> Spawner::Create(Containment containment) {
  auto thread = std::make_unique<Thread>(containment);
  RETURN_IF_ERROR(thread->Ready());
  return std::unique_ptr<Spawner>(new Spawner(std::move(thread)));
}

Spawner& Spawner::Shared() {
  static Spawner* shared = new Spawner(std::make_unique<Thread>(Containment::kParentDeath));
  return *shared;
}

absl::StatusOr<ChildProcess> Spawner::Spawn(const Command& command) { return thread_->Spawn(command); }

}  // namespace cachalot::os
