// What frontends need of the process that the engine runs in, and of its configuration.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace cachalot::build {

class GatewayBuild;
struct WorkerInfo;

// Speaks the gateway API (LLBBridge) with frontends that run in containers. Thread-safe.
class FrontendServer {
 public:
  // One frontend's connection. Its end cancels the calls under way and waits for them.
  class Connection {
   public:
    virtual ~Connection() = default;
  };

  virtual ~FrontendServer() = default;
  // Answers what comes in over `socket`, which is connected, by asking `gateway`.
  virtual absl::StatusOr<std::unique_ptr<Connection>> Serve(UniqueFd socket, std::shared_ptr<GatewayBuild> gateway) = 0;
};

// Which frontends builds may use.
struct FrontendRules {
  bool dockerfile = true;                   // "dockerfile.v0"
  bool images = true;                       // "gateway.v0"
  std::vector<std::string> allowed_images;  // repositories; empty: all
};

struct FrontendHost {
  FrontendServer* server = nullptr;  // null: frontends cannot come as images
  std::function<WorkerInfo()> worker;
  FrontendRules rules;
};

}  // namespace cachalot::build
