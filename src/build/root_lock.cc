#include "build/root_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"

namespace cachalot::build {

namespace {

constexpr char kSocket[] = "engine.sock";
constexpr int kBacklog = 128;

// The socket's address by way of an open directory: paths of sockets are short, those of state directories need not be.
sockaddr_un AddressIn(int directory) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", os::DescriptorPath(directory).c_str(), kSocket);
  return address;
}

absl::StatusOr<UniqueFd> Listen(const std::string& root) {
  ASSIGN_OR_RETURN(const UniqueFd directory, os::OpenDirectory(root));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return ErrnoError("socket");
  const sockaddr_un address = AddressIn(directory.get());
  ::unlinkat(directory.get(), kSocket, 0);  // of an owner that is gone: we have the lock
  // The mode that the socket has before bind() is that of the name after it.
  if (::fchmod(socket.get(), 0600) != 0 || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), kBacklog) != 0) {
    return ErrnoError(absl::StrCat("listen on ", root, "/", kSocket));
  }
  return socket;
}

}  // namespace

absl::StatusOr<RootLock> LockRoot(const std::string& root) {
  const std::string path = absl::StrCat(root, "/engine.lock");
  ASSIGN_OR_RETURN(UniqueFd lock, os::Open(path, O_RDWR | O_CREAT, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoError(absl::StrCat("lock ", path));
    const absl::StatusOr<std::string> owner = os::ReadAll(lock.get(), 64, path);
    return absl::UnavailableError(absl::StrCat(root, " is in use by process ", owner.ok() && !owner->empty() ? *owner : "?"));
  }
  // Written over what is there, then cut: a full disk has no room for the file but what it has.
  const std::string pid = absl::StrCat(::getpid());
  if (::pwrite(lock.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) return ErrnoError(absl::StrCat("write ", path));
  if (::ftruncate(lock.get(), static_cast<off_t>(pid.size())) != 0) return ErrnoError(absl::StrCat("truncate ", path));
  absl::StatusOr<UniqueFd> listener = Listen(root);
  if (!listener.ok()) LogWarning(listener.status().message());
  return RootLock{std::move(lock), std::move(listener).value_or(UniqueFd())};
}

absl::StatusOr<UniqueFd> ConnectToOwner(const std::string& root) {
  absl::StatusOr<UniqueFd> directory = os::OpenDirectory(root);
  if (absl::IsNotFound(directory.status())) return absl::UnavailableError(directory.status().message());
  RETURN_IF_ERROR(directory.status());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return ErrnoError("socket");
  const sockaddr_un address = AddressIn(directory->get());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    const absl::Status failed = ErrnoError(absl::StrCat("connect to ", root, "/", kSocket), error);
    return error == ENOENT || error == ECONNREFUSED || error == EAGAIN ? absl::UnavailableError(failed.message()) : failed;
  }
  return socket;
}

}  // namespace cachalot::build
