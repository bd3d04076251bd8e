// Preloaded into the engine (LD_PRELOAD) by a test that plays the disk: each sync of a file or a file system is told to the test, which
// looks at what the disk must hold from now on and answers when the sync may return. Nothing is really synced.
//
// DISK_RECORDER: the path of the test's socket. A message is "fsync|syncfs <device> <inode>"; the answer is one byte.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

sockaddr_un test = {};

// Steps and tools that the engine starts sync for themselves.
__attribute__((constructor)) void Start() {
  test.sun_family = AF_UNIX;
  if (const char* path = std::getenv("DISK_RECORDER")) std::strncpy(test.sun_path, path, sizeof test.sun_path - 1);
  ::unsetenv("LD_PRELOAD");
}

// The process may hold nothing but this descriptor and its memory.
int Tell(const char* what, int fd) {
  struct stat status;
  if (::fstat(fd, &status) != 0) return -1;
  char message[128];
  const int size = std::snprintf(message, sizeof message, "%s %lu %lu", what, status.st_dev, status.st_ino);
  const int link = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  char answer = 0;
  const bool told = ::connect(link, reinterpret_cast<const sockaddr*>(&test), sizeof test) == 0 && ::write(link, message, size) == size &&
                    ::read(link, &answer, 1) == 1;
  ::close(link);
  if (!told) ::_exit(99);  // the disk is gone
  return 0;
}

}  // namespace

extern "C" {
int fsync(int fd) { return Tell("fsync", fd); }
int fdatasync(int fd) { return Tell("fsync", fd); }
int syncfs(int fd) noexcept { return Tell("syncfs", fd); }
}
