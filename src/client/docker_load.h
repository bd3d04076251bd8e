// Handing an image archive to a Docker daemon.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "client/attach/attachables.h"

namespace cachalot::client {

// An output that feeds `docker load`. NOT_FOUND when there is no docker client.
absl::StatusOr<Output> DockerLoadOutput(int exporter_id);

}  // namespace cachalot::client
