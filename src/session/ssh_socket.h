// A unix socket whose connections go to the client's SSH agent (moby.sshforward.v1).
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "session/rpc/connection.h"
#include "session/session.h"

namespace cachalot::session {

// A new socket in a directory of its own, owned by uid:gid with `mode`. An empty id means "default".
absl::StatusOr<std::unique_ptr<Session::SshSocket>> OpenSshSocket(std::shared_ptr<RpcConnection> connection, const std::string& id, std::uint32_t uid,
                                                                  std::uint32_t gid, std::uint32_t mode);

// Copies between a connected socket and a call in both directions until both ends are through.
absl::Status CopySshStream(int fd, RpcStream& stream, bool calling_end);

// Writes all of `bytes` to a socket, without a signal when the other end is gone. False then, with errno set.
bool SendAll(int fd, absl::string_view bytes);

}  // namespace cachalot::session
