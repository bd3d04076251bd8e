// Containers of frontends between the gateway API's messages and build/container.h.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "build/container.h"
#include "buildkit/gateway.pb.h"

namespace cachalot::daemon {

absl::StatusOr<build::ContainerRequest> DecodeContainer(const moby::buildkit::v1::frontend::NewContainerRequest& message);
absl::StatusOr<build::ProcessRequest> DecodeProcess(const moby::buildkit::v1::frontend::InitMessage& message);

// The number of a signal by its name on the wire: "KILL", "RTMIN+3", with or without "SIG".
std::optional<int> SignalNumber(absl::string_view name);

// How a process ended: its exit code, or 255 when it has none.
void EncodeExit(const absl::Status& status, moby::buildkit::v1::frontend::ExitMessage* message);

}  // namespace cachalot::daemon
