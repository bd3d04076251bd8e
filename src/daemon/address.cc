#include "daemon/address.h"

#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::daemon {

namespace {

constexpr int kFirstInheritedFd = 3;
constexpr int kBacklog = 128;

absl::StatusOr<sockaddr_un> UnixAddress(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("socket path \"", path, "\" is empty or longer than ", sizeof(address.sun_path) - 1, " bytes"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// Removes a socket that nobody listens on.
absl::Status ClearSocketPath(const std::string& path) {
  struct stat info = {};
  if (lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoError(path);
  }
  if (!S_ISSOCK(info.st_mode)) {
    return absl::AlreadyExistsError(absl::StrCat(path, " exists and is not a socket"));
  }
  if (ConnectUnix(path).ok()) {
    return absl::AlreadyExistsError(absl::StrCat(path, ": another process listens there"));
  }
  return unlink(path.c_str()) == 0 || errno == ENOENT ? absl::OkStatus() : ErrnoError(absl::StrCat("removing stale socket ", path));
}

}  // namespace

absl::StatusOr<Address> ParseAddress(absl::string_view text) {
  const std::size_t separator = text.find("://");
  if (separator == absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("address ", text, " does not contain proto, you meant unix://", text, " ?"));
  }
  const absl::string_view scheme = text.substr(0, separator);
  const std::string rest(text.substr(separator + 3));
  if (scheme == "unix") return Address{Address::Kind::kUnix, rest};
  if (scheme == "tcp") return Address{Address::Kind::kTcp, rest};
  if (scheme == "fd") return Address{Address::Kind::kFd, rest};
  return absl::InvalidArgumentError(absl::StrCat("addr ", text, " not supported"));
}

absl::StatusOr<UniqueFd> ListenUnix(const std::string& path, int gid) {
  ASSIGN_OR_RETURN(const sockaddr_un address, UnixAddress(path));
  std::error_code ignored;  // bind tells more about a missing directory
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  RETURN_IF_ERROR(ClearSocketPath(path));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) {
    return ErrnoError("socket");
  }
  // The mode of the socket before bind() is that of the path after it (less the umask): nobody gets a chance in between.
  if (fchmod(fd.get(), 0660) != 0 || bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoError(absl::StrCat("listening on ", path));
  }
  if (chmod(path.c_str(), 0660) != 0 || (gid >= 0 && chown(path.c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(gid)) != 0)) {
    return ErrnoError(absl::StrCat("setting mode and group of ", path));
  }
  if (listen(fd.get(), kBacklog) != 0) {
    return ErrnoError(absl::StrCat("listening on ", path));
  }
  return fd;
}

absl::StatusOr<UniqueFd> ListenTcp(const std::string& host_port) {
  const std::string what = absl::StrCat("listening on tcp://", host_port);
  const std::size_t colon = host_port.rfind(':');
  if (colon == std::string::npos) return absl::InvalidArgumentError(absl::StrCat(what, ": missing port in address"));
  std::string host = host_port.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE;
  hints.ai_family = host.empty() ? AF_INET6 : AF_UNSPEC;  // which serves IPv4 as well
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  int error = getaddrinfo(host.empty() ? nullptr : host.c_str(), host_port.c_str() + colon + 1, &hints, &found);
  if (error != 0) return absl::InvalidArgumentError(absl::StrCat(what, ": ", gai_strerror(error)));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    UniqueFd fd(socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1, off = 0;
    if (address->ai_family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd.valid() && bind(fd.get(), address->ai_addr, address->ai_addrlen) == 0 && listen(fd.get(), kBacklog) == 0) return fd;
    error = errno;
  }
  return ErrnoError(what, error);
}

absl::StatusOr<UniqueFd> InheritedListener(const std::string& number) {
  const char* pid = std::getenv("LISTEN_PID");
  const char* count_text = std::getenv("LISTEN_FDS");
  int count = 0;
  if (pid == nullptr || count_text == nullptr || std::to_string(getpid()) != pid || !absl::SimpleAtoi(count_text, &count) || count < 1) {
    return absl::FailedPreconditionError("fd:// needs sockets from a service manager: LISTEN_FDS is not set for this process");
  }
  int fd = kFirstInheritedFd;
  if (!number.empty() && (!absl::SimpleAtoi(number, &fd) || fd < kFirstInheritedFd || fd >= kFirstInheritedFd + count)) {
    return absl::InvalidArgumentError(
        absl::StrCat("fd://", number, ": inherited sockets are ", kFirstInheritedFd, " to ", kFirstInheritedFd + count - 1));
  }
  UniqueFd result(fcntl(fd, F_DUPFD_CLOEXEC, kFirstInheritedFd));
  if (!result.valid() || fcntl(result.get(), F_SETFL, fcntl(result.get(), F_GETFL) | O_NONBLOCK) != 0) {
    return ErrnoError(absl::StrCat("fd://", fd));
  }
  return result;
}

absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path) {
  ASSIGN_OR_RETURN(const sockaddr_un address, UnixAddress(path));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) {
    return ErrnoError("socket");
  }
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoError(absl::StrCat("connecting to ", path));
  }
  return fd;
}

absl::StatusOr<int> GroupId(const std::string& group) {
  int id = 0;
  if (absl::SimpleAtoi(group, &id) && id >= 0) {
    return id;
  }
  std::vector<char> buffer(64 << 10);
  struct group entry = {};
  struct group* found = nullptr;
  getgrnam_r(group.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) {
    return absl::NotFoundError(absl::StrCat("group ", group, ": unknown"));
  }
  return static_cast<int>(found->gr_gid);
}

}  // namespace cachalot::daemon
