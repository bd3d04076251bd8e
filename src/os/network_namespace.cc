#include "os/network_namespace.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "os/file.h"
#include "os/mount.h"

namespace cachalot::os {
namespace {

struct ifreq RequestFor(const std::string& name) {
  struct ifreq request = {};
  std::memcpy(request.ifr_name, name.data(), std::min(name.size(), sizeof request.ifr_name - 1));
  return request;
}

absl::Status SetUp(const std::string& name, bool up) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  struct ifreq request = RequestFor(name);
  if (!socket.valid() || ::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0) return ErrnoError(absl::StrCat("flags of interface ", name));
  request.ifr_flags = static_cast<short>(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) return ErrnoError(absl::StrCat("set flags of interface ", name));
  return absl::OkStatus();
}

// The namespace of a thread ends with the thread, and nobody else sees it.
absl::Status OnThread(const std::function<absl::Status()>& work) {
  absl::Status status;
  NewThread([&] { status = work(); }).join();
  return status;
}

}  // namespace

absl::Status PinNetworkNamespace(const std::string& path) {
  RETURN_IF_ERROR(Open(path, O_RDONLY | O_CREAT | O_EXCL, 0600).status());
  absl::Status status = OnThread([&]() -> absl::Status {
    if (::unshare(CLONE_NEWNET) != 0) return ErrnoError("make a network namespace");
    RETURN_IF_ERROR(SetUp("lo", true));
    if (::mount("/proc/thread-self/ns/net", path.c_str(), nullptr, MS_BIND, nullptr) != 0) return ErrnoError(absl::StrCat("mount ", path));
    return absl::OkStatus();
  });
  if (!status.ok()) ::unlink(path.c_str());
  return status;
}

absl::Status UnpinNetworkNamespace(const std::string& path) {
  RETURN_IF_ERROR(Unmount(path));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoError(absl::StrCat("remove ", path));
  return absl::OkStatus();
}

absl::Status RunInNetworkNamespace(const std::string& path, const std::function<absl::Status()>& work) {
  ASSIGN_OR_RETURN(const UniqueFd target, Open(path, O_RDONLY));
  return OnThread([&]() -> absl::Status {
    if (::setns(target.get(), CLONE_NEWNET) != 0) return ErrnoError(absl::StrCat("enter ", path));
    return work();
  });
}

bool InterfaceExists(const std::string& name) { return ::if_nametoindex(name.c_str()) != 0; }

absl::Status RemoveBridge(const std::string& name) {
  RETURN_IF_ERROR(SetUp(name, false));
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid() || ::ioctl(socket.get(), SIOCBRDELBR, name.c_str()) != 0) return ErrnoError(absl::StrCat("remove the bridge ", name));
  return absl::OkStatus();
}

}  // namespace cachalot::os
