#include "os/detached.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/status.h"

namespace cachalot::os {
namespace {

constexpr int kArgumentsField = 48;  // of /proc/<pid>/stat, see proc(5): where the arguments begin; the next says where they end

// Writes `title` over the arguments that ps shows.
void SetTitle(const char* title) {
  ::prctl(PR_SET_NAME, title);
  char text[1024];
  const int fd = ::open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  const ssize_t size = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  if (size <= 0) return;
  text[size] = '\0';
  const char* at = std::strrchr(text, ')');  // ends the second field, which may hold anything
  for (int field = 2; at != nullptr && field < kArgumentsField; ++field) at = std::strchr(at + 1, ' ');
  if (at == nullptr) return;
  char* next = nullptr;
  char* const begin = reinterpret_cast<char*>(std::strtoull(at, &next, 10));
  const char* const end = reinterpret_cast<char*>(std::strtoull(next, nullptr, 10));
  if (begin == nullptr || end <= begin) return;
  std::memset(begin, 0, static_cast<std::size_t>(end - begin));
  std::strncpy(begin, title, static_cast<std::size_t>(end - begin - 1));
}

// Returns the directory.
int LeaveAllBut(const char* directory) {
  ::setsid();
  for (const int signal : {SIGTERM, SIGHUP, SIGINT}) ::signal(signal, SIG_IGN);
  ::syscall(SYS_close_range, 0U, ~0U, 0U);
  ::open("/dev/null", O_RDWR);
  ::dup2(0, 1);
  ::dup2(0, 2);
  if (::chdir("/") != 0) return -1;
  const bool own_mounts = ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  const int fd = ::open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (own_mounts) ::umount2("/", MNT_DETACH);
  return fd;
}

}  // namespace

absl::Status RunDetached(const char* title, const std::string& directory, const std::function<void(int directory_fd)>& work) {
  const pid_t pid = ::fork();
  if (pid < 0) return ErrnoError("fork");
  if (pid > 0) return absl::OkStatus();  // init reaps it
  SetTitle(title);
  if (const int fd = LeaveAllBut(directory.c_str()); fd >= 0) work(fd);
  ::_exit(0);
}

}  // namespace cachalot::os
