#include "daemon/translate_container.h"

#include <csignal>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "build/errors.h"
#include "daemon/rpc_error.h"
#include "llb/wire.h"

namespace cachalot::daemon {

namespace {

namespace gateway = moby::buildkit::v1::frontend;

constexpr std::uint32_t kUnknownExitCode = 255;
// Names that the C library knows by others.
constexpr std::pair<absl::string_view, int> kOtherNames[] = {{"CLD", SIGCHLD}, {"IOT", SIGABRT}, {"POLL", SIGPOLL}, {"IO", SIGIO}};

std::optional<int> RealTimeSignal(absl::string_view name) {
  const bool from_end = absl::ConsumePrefix(&name, "RTMAX");
  if (!from_end && !absl::ConsumePrefix(&name, "RTMIN")) return std::nullopt;
  int distance = 0;
  if (!name.empty() && !(absl::ConsumePrefix(&name, from_end ? "-" : "+") && absl::SimpleAtoi(name, &distance))) return std::nullopt;
  const int number = from_end ? SIGRTMAX - distance : SIGRTMIN + distance;
  return distance >= 0 && number >= SIGRTMIN && number <= SIGRTMAX ? std::optional<int>(number) : std::nullopt;
}

}  // namespace

absl::StatusOr<build::ContainerRequest> DecodeContainer(const gateway::NewContainerRequest& message) {
  RETURN_IF_ERROR(llb::CheckTexts(message));
  build::ContainerRequest request;
  request.id = message.containerid();
  for (const pb::Mount& mount : message.mounts()) {
    pb::Mount own = mount;  // where the tree comes from is told by its result id, and there are no outputs
    own.set_input(-1);
    own.set_output(-1);
    RETURN_IF_ERROR(llb::DecodeMount(own, 0, 0, request.mounts.emplace_back()));
  }
  if (!pb::NetMode_IsValid(message.network())) return absl::InvalidArgumentError(absl::StrCat("unknown network mode ", message.network()));
  request.network = static_cast<llb::NetMode>(message.network());
  request.hostname = message.hostname();
  for (const pb::HostIP& host : message.extrahosts()) request.extra_hosts.push_back({host.host(), host.ip()});
  if (message.has_platform()) request.os = message.platform().os();
  return request;
}

absl::StatusOr<build::ProcessRequest> DecodeProcess(const gateway::InitMessage& message) {
  RETURN_IF_ERROR(llb::CheckTexts(message));
  if (message.meta().args().empty()) return absl::InvalidArgumentError("a process needs arguments");
  if (!pb::SecurityMode_IsValid(message.security())) return absl::InvalidArgumentError(absl::StrCat("invalid security mode ", message.security()));
  build::ProcessRequest request;
  request.meta = llb::DecodeMeta(message.meta());
  request.security = static_cast<llb::SecurityMode>(message.security());
  for (const pb::SecretEnv& secret : message.secretenv()) request.secret_env.push_back({secret.id(), secret.name(), secret.optional()});
  request.tty = message.tty();
  return request;
}

std::optional<int> SignalNumber(absl::string_view name) {
  absl::ConsumePrefix(&name, "SIG");
  for (int number = 1; number < SIGRTMIN; ++number) {
    const char* known = ::sigabbrev_np(number);
    if (known != nullptr && name == known) return number;
  }
  for (const auto& [other, number] : kOtherNames) {
    if (name == other) return number;
  }
  return RealTimeSignal(name);
}

void EncodeExit(const absl::Status& status, gateway::ExitMessage* message) {
  if (status.ok()) return;
  const std::optional<int> code = build::DetailsOf(status).exit_code;
  message->set_code(code.has_value() ? static_cast<std::uint32_t>(*code) : kUnknownExitCode);
  *message->mutable_error() = EncodeError(status);
}

}  // namespace cachalot::daemon
