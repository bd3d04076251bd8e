#include "runtime/seccomp.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "runtime/json_text.h"

namespace cachalot::runtime {
namespace {

// Allowed without conditions for the default capabilities. All others fail with EPERM.
constexpr char kAllowed[] =
    "_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 chroot clock_adjtime "
    "clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range "
    "connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait "
    "epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir "
    "fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat "
    "fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake "
    "futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups "
    "getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 "
    "getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init "
    "inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get "
    "ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen "
    "listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create "
    "memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive "
    "mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap "
    "name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free "
    "pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 "
    "pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg "
    "remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending "
    "rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max "
    "sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval "
    "sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget "
    "semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address "
    "setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid "
    "setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt "
    "shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount "
    "statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime "
    "timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times "
    "tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 "
    "waitid waitpid write writev ";

#if defined(__x86_64__)
constexpr char kAllowedHere[] = "arch_prctl modify_ldt";
constexpr char kArchitectures[] = "SCMP_ARCH_X86_64 SCMP_ARCH_X86 SCMP_ARCH_X32";
constexpr std::uint32_t kOtherArchitectures[] = {SCMP_ARCH_X86, SCMP_ARCH_X32};
#elif defined(__aarch64__)
constexpr char kAllowedHere[] = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";
constexpr char kArchitectures[] = "SCMP_ARCH_AARCH64 SCMP_ARCH_ARM";
constexpr std::uint32_t kOtherArchitectures[] = {SCMP_ARCH_ARM};
#else
#error "no system call profile for this architecture"
#endif

constexpr std::size_t kMaxProgram = 1 << 20;

// Calls that are allowed when one argument compares so.
struct Condition {
  const char* name;
  unsigned argument;
  const char* operation_name;
  scmp_compare operation;
  std::uint64_t value, value2;
};

constexpr std::uint64_t kNamespaces = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP;

constexpr Condition kConditions[] = {
    // Every address family but AF_ALG and AF_VSOCK, which reach the kernel's crypto and the hypervisor.
    {"socket", 0, "SCMP_CMP_LT", SCMP_CMP_LT, AF_ALG, 0},
    {"socket", 0, "SCMP_CMP_EQ", SCMP_CMP_EQ, AF_ALG + 1, 0},
    {"socket", 0, "SCMP_CMP_GT", SCMP_CMP_GT, AF_VSOCK, 0},
    {"personality", 0, "SCMP_CMP_EQ", SCMP_CMP_EQ, 0x0, 0},
    {"personality", 0, "SCMP_CMP_EQ", SCMP_CMP_EQ, 0x0008, 0},
    {"personality", 0, "SCMP_CMP_EQ", SCMP_CMP_EQ, 0x20000, 0},
    {"personality", 0, "SCMP_CMP_EQ", SCMP_CMP_EQ, 0x20008, 0},
    {"personality", 0, "SCMP_CMP_EQ", SCMP_CMP_EQ, 0xffffffff, 0},
    // No new namespaces.
    {"clone", 0, "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ, kNamespaces, 0},
};

// clone3 hides its flags from filters; ENOSYS makes C libraries fall back to clone.
constexpr char kNotImplemented[] = "clone3";

std::vector<std::string> AllowedNames() { return absl::StrSplit(absl::StrCat(kAllowed, kAllowedHere), ' ', absl::SkipEmpty()); }

struct ReleaseFilter {
  void operator()(void* filter) const { ::seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, ReleaseFilter>;

// Unknown names are calls that this libseccomp does not have yet.
absl::Status AddRule(void* filter, std::uint32_t action, const std::string& name, const std::vector<scmp_arg_cmp>& arguments) {
  int number = ::seccomp_syscall_resolve_name(name.c_str());
  if (number == __NR_SCMP_ERROR) return absl::OkStatus();
  int error = ::seccomp_rule_add_array(filter, action, number, static_cast<unsigned>(arguments.size()), arguments.data());
  return error == 0 ? absl::OkStatus() : ErrnoError(absl::StrCat("system call filter: ", name), -error);
}

absl::StatusOr<Filter> Build() {
  Filter filter(::seccomp_init(SCMP_ACT_ERRNO(EPERM)));
  if (filter == nullptr) return absl::InternalError("system call filter: cannot be made");
  for (std::uint32_t architecture : kOtherArchitectures) {
    if (int error = ::seccomp_arch_add(filter.get(), architecture); error != 0) return ErrnoError("system call filter: architecture", -error);
  }
  for (const std::string& name : AllowedNames()) RETURN_IF_ERROR(AddRule(filter.get(), SCMP_ACT_ALLOW, name, {}));
  for (const Condition& condition : kConditions) {
    scmp_arg_cmp argument = {condition.argument, condition.operation, condition.value, condition.value2};
    RETURN_IF_ERROR(AddRule(filter.get(), SCMP_ACT_ALLOW, condition.name, {argument}));
  }
  RETURN_IF_ERROR(AddRule(filter.get(), SCMP_ACT_ERRNO(ENOSYS), kNotImplemented, {}));
  return filter;
}

absl::StatusOr<std::string> Compile() {
  ASSIGN_OR_RETURN(Filter filter, Build());
  UniqueFd memory(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!memory.valid()) return ErrnoError("memfd_create");
  if (int error = ::seccomp_export_bpf(filter.get(), memory.get()); error != 0) return ErrnoError("system call filter: export", -error);
  if (::lseek(memory.get(), 0, SEEK_SET) != 0) return ErrnoError("seek");
  return os::ReadAll(memory.get(), kMaxProgram, "system call filter");
}

}  // namespace

std::string SeccompProfileJson() {
  std::string json = R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"architectures":)";
  AppendQuotedList(json, absl::StrSplit(kArchitectures, ' '));
  json += R"(,"syscalls":[{"names":)";
  AppendQuotedList(json, AllowedNames());
  json += R"(,"action":"SCMP_ACT_ALLOW"})";
  for (const Condition& condition : kConditions) {
    absl::StrAppend(&json, R"(,{"names":[")", condition.name, R"("],"action":"SCMP_ACT_ALLOW","args":[{"index":)", condition.argument, R"(,"value":)",
                    condition.value, R"(,"valueTwo":)", condition.value2, R"(,"op":")", condition.operation_name, R"("}]})");
  }
  absl::StrAppend(&json, R"(,{"names":[")", kNotImplemented, R"("],"action":"SCMP_ACT_ERRNO","errnoRet":)", ENOSYS, "}]}");
  return json;
}

absl::StatusOr<std::string> SeccompProgramBase64(const std::string& cache) {
  const scmp_version* version = ::seccomp_version();
  std::string path = absl::StrCat(cache, "/seccomp-", version->major, ".", version->minor, ".", version->micro, "-",
                                  absl::Hex(std::hash<std::string>()(SeccompProfileJson())), ".bpf");
  absl::StatusOr<std::string> program = os::ReadFile(path, kMaxProgram);
  if (!program.ok() || program->empty() || program->size() % sizeof(struct sock_filter) != 0) {
    ASSIGN_OR_RETURN(program, Compile());
    RETURN_IF_ERROR(os::WriteFileAtomic(path, *program, 0600, os::Durability::kSynced));
  }
  return absl::Base64Escape(*program);
}

bool SeccompSupported() { return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, nullptr, 0, 0) != 0 && errno == EFAULT; }

}  // namespace cachalot::runtime
