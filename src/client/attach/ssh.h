// The client's SSH agents, for build steps (moby.sshforward.v1).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/attach/attachables.h"
#include "client/attach/key_agent.h"
#include "session/rpc/call.h"

namespace cachalot::client {

class SshAgents {
 public:
  static absl::StatusOr<std::unique_ptr<SshAgents>> Create(const std::vector<SshAgent>& agents);
  // Serves as long as this lives.
  void AddHandlers(session::RpcHandlers& handlers);

 private:
  struct Agent {
    std::string socket;
    bool raw = false;
    std::unique_ptr<KeyAgent> keys;  // behind the socket, unless the socket is the user's
  };
  static absl::StatusOr<Agent> Open(const SshAgent& wanted);
  absl::StatusOr<const Agent*> Find(const std::string& id) const;
  absl::Status Forward(session::RpcStream& stream);

  std::map<std::string, Agent> agents_;
};

}  // namespace cachalot::client
