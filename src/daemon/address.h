// Where a daemon listens and clients dial: unix://PATH, tcp://HOST:PORT, fd://N.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace cachalot::daemon {

struct Address {
  enum class Kind { kUnix, kTcp, kFd };
  Kind kind;
  std::string rest;  // a path, host:port, or the number of an inherited descriptor (empty: the first one)
};

// INVALID_ARGUMENT for other schemes and for an address without one.
absl::StatusOr<Address> ParseAddress(absl::string_view text);

// A listening socket at `path` with mode 0660 and group `gid` (-1: unchanged). The path of a dead process's socket is taken over;
// when somebody listens there it is ALREADY_EXISTS. Missing parent directories are made (0711).
absl::StatusOr<UniqueFd> ListenUnix(const std::string& path, int gid);
// A listening socket at "host:port"; without a host on all interfaces. Port 0 is any free one.
absl::StatusOr<UniqueFd> ListenTcp(const std::string& host_port);
// The listening socket that a service manager handed over (LISTEN_FDS, sd_listen_fds(3)).
absl::StatusOr<UniqueFd> InheritedListener(const std::string& number);
// A connection to the socket at `path`.
absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path);

// The id of a group given by name or number.
absl::StatusOr<int> GroupId(const std::string& group);

}  // namespace cachalot::daemon
