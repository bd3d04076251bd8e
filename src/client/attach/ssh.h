// The client's SSH agents, for build steps (moby.sshforward.v1).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/attach/attachables.h"
#include "session/rpc/call.h"

namespace cachalot::client {

class SshAgents {
 public:
  static absl::StatusOr<std::unique_ptr<SshAgents>> Create(const std::vector<SshAgent>& agents);
  // Serves as long as this lives.
  void AddHandlers(session::RpcHandlers& handlers);

 private:
  absl::StatusOr<const SshAgent*> Find(const std::string& id) const;
  absl::Status Forward(session::RpcStream& stream);

  std::map<std::string, SshAgent> agents_;
};

}  // namespace cachalot::client
