#include "daemon/rpc_error.h"

#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "build/errors.h"
#include "buildkit/gateway.pb.h"
#include "buildkit/policysession.pb.h"
#include "buildkit/stack.pb.h"
#include "daemon/version.h"

namespace cachalot::daemon {

namespace {

// The type registry of the protocol's own: this prefix, the type's name, "+json", and a JSON value.
constexpr char kTypePrefix[] = "github.com/moby/buildkit/";
constexpr char kTypeSuffix[] = "+json";

void AddDetail(google::rpc::Status& status, absl::string_view type, const google::protobuf::Message& detail) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(detail, &json, options).ok()) {
    return;  // a detail that JSON cannot hold (bytes that are not UTF-8 in a string) is left out, the message stays
  }
  auto* any = status.add_details();
  any->set_type_url(absl::StrCat(kTypePrefix, type, kTypeSuffix));
  any->set_value(json);
}

template <typename Message>
bool ParseDetail(const google::protobuf::Any& any, absl::string_view type, Message& message) {
  if (any.type_url() != absl::StrCat(kTypePrefix, type, kTypeSuffix)) {
    return false;
  }
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  return google::protobuf::util::JsonStringToMessage(any.value(), &message, options).ok();
}

errdefs::Source SourceDetail(const build::SourceExcerpt& excerpt) {
  errdefs::Source source;
  auto* info = source.mutable_info();
  info->set_filename(excerpt.filename);
  info->set_data(excerpt.data);
  info->set_language(excerpt.language);
  if (!excerpt.definition.empty()) info->mutable_definition()->ParseFromString(excerpt.definition);
  for (const auto& range : excerpt.ranges) {
    auto* message = source.add_ranges();
    message->mutable_start()->set_line(range.start_line);
    message->mutable_start()->set_character(range.start_character);
    message->mutable_end()->set_line(range.end_line);
    message->mutable_end()->set_character(range.end_character);
  }
  return source;
}

std::vector<std::string> CommandLineOfProcess() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return absl::StrSplit(text, '\0', absl::SkipEmpty());
}

// Which process an error comes from: clients print it with the traces of their own. Errors as values know no frames.
void AddOrigin(google::rpc::Status& status) {
  static const auto& origin = *[] {
    auto* stack = new stack::Stack;
    for (const std::string& argument : CommandLineOfProcess()) stack->add_cmdline(argument);
    stack->set_pid(getpid());
    stack->set_version(kProtocolVersion);
    stack->set_revision(absl::StrCat("cachalot-", kVersion));
    return stack;
  }();
  AddDetail(status, "stack.Stack", origin);
}

void AddDenial(google::rpc::Status& status, const std::vector<std::string>& messages) {
  namespace policy = moby::buildkit::v1::sourcepolicy;
  policy::policysession::DecisionResponse decision;
  decision.set_action(policy::DENY);
  for (const std::string& message : messages) decision.add_denymessages()->set_message(message);
  AddDetail(status, "policysession.DecisionResponse", decision);
}

// Rooms that know a detail of the protocol attach it in its final form, under its name in the type registry.
void AddAttachedDetails(google::rpc::Status& status, const absl::Status& error) {
  error.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    if (!absl::StartsWith(type, kTypePrefix)) return;
    auto* any = status.add_details();
    any->set_type_url(std::string(type));
    any->set_value(std::string(payload));
  });
}

void AddBuildDetails(google::rpc::Status& status, const build::ErrorDetails& details) {
  for (const auto& excerpt : details.sources) {
    AddDetail(status, "errdefs.Source", SourceDetail(excerpt));
  }
  if (!details.vertex.empty()) {
    errdefs::Vertex vertex;
    vertex.set_digest(details.vertex);
    AddOrigin(status);
    AddDetail(status, "errdefs.Vertex", vertex);
  }
  if (!details.op.empty()) {
    errdefs::Solve solve;
    if (solve.mutable_op()->ParseFromString(details.op)) {
      solve.mutable_description()->insert(details.description.begin(), details.description.end());
      if (details.file_action.has_value()) {
        solve.mutable_file()->set_index(*details.file_action);
      } else if (details.content_input.has_value()) {
        solve.mutable_cache()->set_index(*details.content_input);
      }
      solve.mutable_inputids()->Assign(details.input_ids.begin(), details.input_ids.end());
      solve.mutable_mountids()->Assign(details.mount_ids.begin(), details.mount_ids.end());
      AddDetail(status, "errdefs.Solve", solve);
    }
  }
  if (details.exit_code.has_value()) {
    moby::buildkit::v1::frontend::ExitMessage exit;
    exit.set_code(static_cast<std::uint32_t>(*details.exit_code));
    AddDetail(status, "gatewayapi.ExitMessage", exit);
  }
  if (!details.deny_messages.empty()) AddDenial(status, details.deny_messages);
}

grpc::Status WireStatus(const google::rpc::Status& message) {
  if (message.code() == 0) {
    return grpc::Status::OK;
  }
  return grpc::Status(static_cast<grpc::StatusCode>(message.code()), message.message(),
                      message.details_size() > 0 ? message.SerializeAsString() : std::string());
}

}  // namespace

google::rpc::Status EncodeError(const absl::Status& error) {
  google::rpc::Status status;
  status.set_code(static_cast<int>(error.code()));
  status.set_message(std::string(error.message()));
  if (error.ok()) {
    return status;
  }
  if (const auto wire = error.GetPayload(kWireDetailsPayload)) {
    google::rpc::Status earlier;
    if (earlier.ParseFromString(std::string(*wire))) {
      status.mutable_details()->Swap(earlier.mutable_details());
    }
  }
  AddBuildDetails(status, build::DetailsOf(error));
  AddAttachedDetails(status, error);
  return status;
}

absl::Status DecodeError(const google::rpc::Status& message) {
  if (message.code() == 0) {
    return absl::OkStatus();
  }
  const bool known = message.code() > 0 && message.code() <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  absl::Status status(known ? static_cast<absl::StatusCode>(message.code()) : absl::StatusCode::kUnknown, message.message());
  if (message.details_size() > 0) {
    status.SetPayload(kWireDetailsPayload, absl::Cord(message.SerializeAsString()));
  }
  return status;
}

grpc::Status ToGrpcStatus(const absl::Status& error) { return WireStatus(EncodeError(error)); }

google::rpc::Status EncodeBuildFailure(const absl::Status& error) {
  google::rpc::Status message = EncodeError(error);
  switch (error.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kDataLoss: message.set_code(static_cast<int>(absl::StatusCode::kUnknown)); break;
    default: break;
  }
  return message;
}

grpc::Status ToBuildFailure(const absl::Status& error) { return WireStatus(EncodeBuildFailure(error)); }

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) {
    return absl::OkStatus();
  }
  google::rpc::Status message;
  if (status.error_details().empty() || !message.ParseFromString(status.error_details())) {
    message.Clear();
  }
  message.set_code(static_cast<int>(status.error_code()));
  message.set_message(status.error_message());
  return DecodeError(message);
}

WireDetails WireDetailsOf(const absl::Status& error) {
  WireDetails details;
  google::rpc::Status message;
  const auto wire = error.GetPayload(kWireDetailsPayload);
  if (!wire.has_value() || !message.ParseFromString(std::string(*wire))) {
    return details;
  }
  for (const auto& any : message.details()) {
    errdefs::Source source;
    errdefs::Vertex vertex;
    moby::buildkit::v1::frontend::ExitMessage exit;
    if (ParseDetail(any, "errdefs.Source", source)) {
      details.sources.push_back(std::move(source));
    } else if (ParseDetail(any, "errdefs.Vertex", vertex)) {
      details.vertex = vertex.digest();
    } else if (ParseDetail(any, "gatewayapi.ExitMessage", exit)) {
      details.exit_code = static_cast<int>(exit.code());
    }
  }
  return details;
}

}  // namespace cachalot::daemon
