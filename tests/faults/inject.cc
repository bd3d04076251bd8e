#include "faults/inject.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

extern "C" char __executable_start, etext;

namespace cachalot::faults {

namespace {

// What a call does, as far as errors depend on it.
enum Effect : unsigned { kReads = 1, kWrites = 2, kTakesSpace = 4, kOpens = 8, kTakesMemory = 16 };

std::atomic<int> armed_error = 0;
std::atomic<std::int64_t> until = 0, counted = 0;
std::atomic<bool> injected = false;
const char* injected_call = "";
void* injected_site = nullptr;
thread_local int exempt = 0;

bool CanFail(int error, unsigned effects) {
  switch (error) {
    case ENOSPC:
    case EDQUOT: return (effects & kTakesSpace) != 0;
    case EROFS: return (effects & kWrites) != 0;
    case EMFILE: return (effects & kOpens) != 0;
    case ENOMEM: return (effects & (kOpens | kTakesMemory | kTakesSpace)) != 0;
    default: return true;  // EIO
  }
}

// The innermost caller that is this program's own code and not this file's.
void* Site() {
  void* frames[24];
  const int count = ::backtrace(frames, 24);
  int own = 0;
  for (int i = 0; i < count; ++i) {
    const char* const at = static_cast<const char*>(frames[i]);
    if (at < &__executable_start || at >= &etext) {
      own = 3;  // beyond a library, all frames are callers
      continue;
    }
    if (++own > 3) return frames[i];
  }
  return nullptr;
}

// True when this call is the one to fail; errno is set then.
bool Fails(const char* call, unsigned effects) {
  const int error = armed_error.load(std::memory_order_relaxed);
  if (error == 0 || exempt > 0 || !CanFail(error, effects)) return false;
  ++counted;
  if (--until != 0) return false;
  ++exempt;
  injected_call = call;
  injected_site = Site();
  --exempt;
  injected = true;
  errno = error;
  return true;
}

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

unsigned OpenEffects(int flags) {
  unsigned effects = kOpens;
  if ((flags & O_CREAT) != 0) effects |= kWrites | kTakesSpace;
  if ((flags & O_ACCMODE) != O_RDONLY) effects |= kWrites;
  return effects;
}

}  // namespace

void Arm(int error, std::int64_t number) {
  counted = 0;
  injected = false;
  until = number;
  armed_error = error;
}

Outcome Disarm() {
  armed_error = 0;
  Outcome outcome{injected, injected_call, "", counted};
  char text[32];
  std::snprintf(text, sizeof text, "0x%zx", static_cast<std::size_t>(static_cast<char*>(injected_site) - &__executable_start));
  outcome.site = text;
  return outcome;
}

Exempt::Exempt() { ++exempt; }
Exempt::~Exempt() { --exempt; }

}  // namespace cachalot::faults

using namespace cachalot::faults;  // the calls below have C's names

// A call that is passed on with its arguments unless it is to fail.
#define TAKE_IN(result, name, effects, parameters, arguments)                \
  extern "C" result taken_##name parameters __asm__(#name);                  \
  extern "C" result taken_##name parameters {                                \
    static auto* const real = Real<result parameters>(#name);                \
    return Fails(#name, effects) ? static_cast<result>(-1) : real arguments; \
  }
#define TAKE_IN_OPEN(name, parameters, arguments)                  \
  extern "C" int taken_##name parameters __asm__(#name);           \
  extern "C" int taken_##name parameters {                         \
    static auto* const real = Real<int parameters>(#name);         \
    mode_t mode = 0;                                               \
    if ((flags & (O_CREAT | O_TMPFILE)) != 0) {                    \
      va_list rest;                                                \
      va_start(rest, flags);                                       \
      mode = va_arg(rest, mode_t);                                 \
      va_end(rest);                                                \
    }                                                              \
    return Fails(#name, OpenEffects(flags)) ? -1 : real arguments; \
  }

TAKE_IN_OPEN(open, (const char* path, int flags, ...), (path, flags, mode))
TAKE_IN_OPEN(open64, (const char* path, int flags, ...), (path, flags, mode))
TAKE_IN_OPEN(openat, (int directory, const char* path, int flags, ...), (directory, path, flags, mode))
TAKE_IN_OPEN(openat64, (int directory, const char* path, int flags, ...), (directory, path, flags, mode))
TAKE_IN(int, dup, kOpens, (int fd), (fd))
TAKE_IN(int, pipe2, kOpens, (int ends[2], int flags), (ends, flags))

TAKE_IN(ssize_t, read, kReads, (int fd, void* data, size_t size), (fd, data, size))
TAKE_IN(ssize_t, pread, kReads, (int fd, void* data, size_t size, off_t at), (fd, data, size, at))
TAKE_IN(ssize_t, pread64, kReads, (int fd, void* data, size_t size, off64_t at), (fd, data, size, at))
TAKE_IN(ssize_t, write, kWrites | kTakesSpace, (int fd, const void* data, size_t size), (fd, data, size))
TAKE_IN(ssize_t, pwrite, kWrites | kTakesSpace, (int fd, const void* data, size_t size, off_t at), (fd, data, size, at))
TAKE_IN(ssize_t, pwrite64, kWrites | kTakesSpace, (int fd, const void* data, size_t size, off64_t at), (fd, data, size, at))
TAKE_IN(ssize_t, copy_file_range, kWrites | kTakesSpace, (int from, off64_t* from_at, int to, off64_t* to_at, size_t size, unsigned flags),
        (from, from_at, to, to_at, size, flags))
TAKE_IN(int, ftruncate, kWrites | kTakesSpace, (int fd, off_t size), (fd, size))
TAKE_IN(int, ftruncate64, kWrites | kTakesSpace, (int fd, off64_t size), (fd, size))
TAKE_IN(int, fallocate, kWrites | kTakesSpace, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
TAKE_IN(int, fallocate64, kWrites | kTakesSpace, (int fd, int mode, off64_t at, off64_t size), (fd, mode, at, size))
TAKE_IN(int, fsync, kWrites | kTakesSpace, (int fd), (fd))
TAKE_IN(int, fdatasync, kWrites | kTakesSpace, (int fd), (fd))
TAKE_IN(int, syncfs, kWrites | kTakesSpace, (int fd), (fd))

TAKE_IN(int, rename, kWrites | kTakesSpace, (const char* from, const char* to), (from, to))
TAKE_IN(int, renameat, kWrites | kTakesSpace, (int from_at, const char* from, int to_at, const char* to), (from_at, from, to_at, to))
TAKE_IN(int, link, kWrites | kTakesSpace, (const char* from, const char* to), (from, to))
TAKE_IN(int, linkat, kWrites | kTakesSpace, (int from_at, const char* from, int to_at, const char* to, int flags), (from_at, from, to_at, to, flags))
TAKE_IN(int, symlink, kWrites | kTakesSpace, (const char* target, const char* path), (target, path))
TAKE_IN(int, symlinkat, kWrites | kTakesSpace, (const char* target, int directory, const char* path), (target, directory, path))
TAKE_IN(int, mkdir, kWrites | kTakesSpace, (const char* path, mode_t mode), (path, mode))
TAKE_IN(int, mkdirat, kWrites | kTakesSpace, (int directory, const char* path, mode_t mode), (directory, path, mode))
TAKE_IN(int, mknod, kWrites | kTakesSpace, (const char* path, mode_t mode, dev_t device), (path, mode, device))
TAKE_IN(int, mknodat, kWrites | kTakesSpace, (int directory, const char* path, mode_t mode, dev_t device), (directory, path, mode, device))
TAKE_IN(int, unlink, kWrites, (const char* path), (path))
TAKE_IN(int, unlinkat, kWrites, (int directory, const char* path, int flags), (directory, path, flags))
TAKE_IN(int, rmdir, kWrites, (const char* path), (path))
TAKE_IN(int, chown, kWrites, (const char* path, uid_t user, gid_t group), (path, user, group))
TAKE_IN(int, fchown, kWrites, (int fd, uid_t user, gid_t group), (fd, user, group))
TAKE_IN(int, fchownat, kWrites, (int directory, const char* path, uid_t user, gid_t group, int flags), (directory, path, user, group, flags))
TAKE_IN(int, chmod, kWrites, (const char* path, mode_t mode), (path, mode))
TAKE_IN(int, fchmod, kWrites, (int fd, mode_t mode), (fd, mode))
TAKE_IN(int, fchmodat, kWrites, (int directory, const char* path, mode_t mode, int flags), (directory, path, mode, flags))
TAKE_IN(int, utimensat, kWrites, (int directory, const char* path, const timespec times[2], int flags), (directory, path, times, flags))
TAKE_IN(int, futimens, kWrites, (int fd, const timespec times[2]), (fd, times))
TAKE_IN(int, fsetxattr, kWrites | kTakesSpace, (int fd, const char* name, const void* value, size_t size, int flags), (fd, name, value, size, flags))
TAKE_IN(int, lsetxattr, kWrites | kTakesSpace, (const char* path, const char* name, const void* value, size_t size, int flags),
        (path, name, value, size, flags))
TAKE_IN(int, mount, kTakesMemory, (const char* source, const char* target, const char* type, unsigned long flags, const void* data),
        (source, target, type, flags, data))

extern "C" void* taken_fdopendir(int fd) __asm__("fdopendir");
extern "C" void* taken_fdopendir(int fd) {
  static auto* const real = Real<void*(int)>("fdopendir");
  return Fails("fdopendir", kReads | kTakesMemory) ? nullptr : real(fd);
}
// Both names of mmap are one function; memory without a file is the allocator's.
extern "C" void* taken_mmap(void* hint, size_t size, int protection, int flags, int fd, off_t at) __asm__("mmap64");
extern "C" void* taken_mmap(void* hint, size_t size, int protection, int flags, int fd, off_t at) {
  return fd >= 0 && Fails("mmap", kTakesMemory)
             ? reinterpret_cast<void*>(-1)
             : reinterpret_cast<void*>(Real<long(long, ...)>("syscall")(SYS_mmap, hint, size, protection, flags, fd, at));
}
extern "C" long taken_syscall(long number, ...) __asm__("syscall");
extern "C" long taken_syscall(long number, ...) {
  static auto* const real = Real<long(long, ...)>("syscall");
  long a[6];
  va_list rest;
  va_start(rest, number);
  for (long& argument : a) argument = va_arg(rest, long);
  va_end(rest);
  const unsigned effects = number == SYS_openat2 ? OpenEffects(static_cast<int>(*reinterpret_cast<const std::uint64_t*>(a[2]))) : 0;
  if (effects != 0 && Fails("openat2", effects)) return -1;
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
