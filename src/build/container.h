// Containers that a frontend starts and talks to while its build runs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "llb/frontend.h"
#include "llb/op.h"
#include "runtime/runtime.h"

namespace cachalot::build {

struct ContainerRequest {
  std::string id;  // chosen by the frontend
  // `result_id` of a mount names its tree: a ref that was handed out to the frontend, or an id from the details of an error.
  std::vector<llb::Mount> mounts;
  llb::NetMode network = llb::NetMode::kSandbox;
  std::string hostname;
  std::vector<llb::HostIp> extra_hosts;
  std::string os = "linux";  // whose default PATH the processes get
};

struct ProcessRequest {
  llb::ProcessMeta meta;  // the arguments, the environment, the directory, the user; the rest is the container's
  llb::SecurityMode security = llb::SecurityMode::kSandbox;
  std::vector<llb::SecretEnv> secret_env;
  bool tty = false;
};

// One thread waits, any may signal and resize. Who removes the container waits until the object is gone.
class ContainerProcess {
 public:
  virtual ~ContainerProcess() = default;  // kills it
  // OK for exit code 0. Else an error with the exit code in its details (build/errors.h) if there was one. CANCELLED when it was killed
  // because of `cancel` or because its container was released.
  virtual absl::Status Wait(const CancelToken& cancel) = 0;
  virtual absl::Status Signal(int signal) = 0;
  virtual absl::Status Resize(int rows, int columns) = 0;
};

// Thread-safe.
class Container {
 public:
  virtual ~Container() = default;
  // The first process is the container's own: all others end with it. Returns once the process takes signals, or has failed to start.
  virtual absl::StatusOr<std::unique_ptr<ContainerProcess>> Start(const ProcessRequest& request, runtime::Streams streams,
                                                                  const CancelToken& cancel) = 0;
  // Whether the first process was started, well or not.
  virtual bool HasStarted() const = 0;
  // As FrontendBridge's, on the tree of a mount by its index in the request, as it is now.
  virtual absl::StatusOr<std::string> ReadFile(int mount, const std::string& path, std::int64_t offset, std::int64_t length) = 0;
  virtual absl::StatusOr<std::vector<llb::FileStat>> ReadDir(int mount, const std::string& path, const std::string& include_pattern) = 0;
  virtual absl::StatusOr<llb::FileStat> StatFile(int mount, const std::string& path) = 0;
};
using ContainerPtr = std::shared_ptr<Container>;

}  // namespace cachalot::build
