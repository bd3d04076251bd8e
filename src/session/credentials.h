// Registry credentials held by the client (moby.filesync.v1.Auth).
#pragma once

#include <memory>

#include "registry/client.h"
#include "session/rpc/connection.h"

namespace cachalot::session {

std::shared_ptr<registry::Credentials> SessionCredentials(std::shared_ptr<RpcConnection> connection);

}  // namespace cachalot::session
