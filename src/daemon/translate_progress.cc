#include "daemon/translate_progress.h"

#include <utility>

#include "daemon/timestamps.h"

namespace cachalot::daemon {

namespace {

namespace control = moby::buildkit::v1;
constexpr std::size_t kMaxLogBytes = 1 << 20;

void EncodeVertex(const solver::VertexEvent& event, control::Vertex* message) {
  message->set_digest(event.digest);
  message->mutable_inputs()->Add(event.inputs.begin(), event.inputs.end());
  message->set_name(event.name);
  message->set_cached(event.cached);
  message->set_error(event.error);
  if (event.started.has_value()) EncodeTime(*event.started, message->mutable_started());
  if (event.completed.has_value()) EncodeTime(*event.completed, message->mutable_completed());
  if (event.group.has_value()) {
    message->mutable_progressgroup()->set_id(event.group->id);
    message->mutable_progressgroup()->set_name(event.group->name);
    message->mutable_progressgroup()->set_weak(event.group->weak);
  }
}

void EncodeStatus(const solver::StatusEvent& event, control::VertexStatus* message) {
  message->set_id(event.id);
  message->set_vertex(event.vertex);
  message->set_name(event.name);
  message->set_current(event.current);
  message->set_total(event.total);
  EncodeTime(event.timestamp, message->mutable_timestamp());
  if (event.started.has_value()) EncodeTime(*event.started, message->mutable_started());
  if (event.completed.has_value()) EncodeTime(*event.completed, message->mutable_completed());
}

void EncodeWarning(const solver::WarningEvent& event, control::VertexWarning* message) {
  message->set_vertex(event.vertex);
  message->set_level(event.level);
  message->set_short_(event.brief);
  message->mutable_detail()->Add(event.detail.begin(), event.detail.end());
  message->set_url(event.url);
  if (!event.source_filename.empty() || !event.source_data.empty()) {
    auto* info = message->mutable_info();
    info->set_filename(event.source_filename);
    info->set_data(event.source_data);
    info->set_language(event.source_language);
    if (!event.source_definition.empty()) info->mutable_definition()->ParseFromString(event.source_definition);
  }
  for (const auto& range : event.ranges) {
    auto* encoded = message->add_ranges();
    encoded->mutable_start()->set_line(range.start_line);
    encoded->mutable_start()->set_character(range.start_character);
    encoded->mutable_end()->set_line(range.end_line);
    encoded->mutable_end()->set_character(range.end_character);
  }
}

// WarnRequest and VertexWarning differ in the name of one field.
template <typename Message>
void DecodeWarningBody(const Message& message, solver::WarningEvent& event) {
  event.level = static_cast<int>(message.level());
  event.brief = message.short_();
  event.detail.assign(message.detail().begin(), message.detail().end());
  event.url = message.url();
  if (message.has_info()) {
    event.source_filename = message.info().filename();
    event.source_data = message.info().data();
    event.source_language = message.info().language();
    if (message.info().has_definition()) event.source_definition = message.info().definition().SerializeAsString();
  }
  for (const auto& range : message.ranges()) {
    event.ranges.push_back({range.start().line(), range.start().character(), range.end().line(), range.end().character()});
  }
}

template <typename Message>
std::optional<absl::Time> Started(const Message& message) {
  return message.has_started() ? std::optional(DecodeTime(message.started())) : std::nullopt;
}
template <typename Message>
std::optional<absl::Time> Completed(const Message& message) {
  return message.has_completed() ? std::optional(DecodeTime(message.completed())) : std::nullopt;
}

solver::VertexEvent DecodeVertex(const control::Vertex& message) {
  solver::VertexEvent event;
  event.digest = message.digest();
  event.inputs.assign(message.inputs().begin(), message.inputs().end());
  event.name = message.name();
  event.started = Started(message);
  event.completed = Completed(message);
  event.cached = message.cached();
  event.error = message.error();
  if (message.has_progressgroup()) {
    event.group = solver::ProgressGroup{message.progressgroup().id(), message.progressgroup().name(), message.progressgroup().weak()};
  }
  return event;
}

}  // namespace

std::vector<control::StatusResponse> EncodeProgress(const build::ProgressBatch& batch) {
  std::vector<control::StatusResponse> messages(1);
  for (const auto& event : batch.vertexes) EncodeVertex(event, messages.back().add_vertexes());
  for (const auto& event : batch.statuses) EncodeStatus(event, messages.back().add_statuses());
  for (const auto& event : batch.warnings) EncodeWarning(event, messages.back().add_warnings());
  std::size_t log_bytes = 0;
  for (const auto& event : batch.logs) {
    if (log_bytes > kMaxLogBytes) {
      messages.emplace_back();
      log_bytes = 0;
    }
    auto* message = messages.back().add_logs();
    message->set_vertex(event.vertex);
    message->set_stream(event.stream);
    message->set_msg(event.data);
    EncodeTime(event.timestamp, message->mutable_timestamp());
    log_bytes += event.data.size();
  }
  return messages;
}

build::ProgressBatch DecodeProgress(const control::StatusResponse& message) {
  build::ProgressBatch batch;
  for (const auto& vertex : message.vertexes()) {
    batch.vertexes.push_back(DecodeVertex(vertex));
  }
  for (const auto& status : message.statuses()) {
    batch.statuses.push_back({status.vertex(), status.id(), status.name(), status.current(), status.total(), DecodeTime(status.timestamp()),
                              Started(status), Completed(status)});
  }
  for (const auto& log : message.logs()) {
    batch.logs.push_back({log.vertex(), static_cast<int>(log.stream()), log.msg(), DecodeTime(log.timestamp())});
  }
  for (const auto& warning : message.warnings()) {
    solver::WarningEvent event;
    event.vertex = warning.vertex();
    DecodeWarningBody(warning, event);
    batch.warnings.push_back(std::move(event));
  }
  return batch;
}

solver::WarningEvent DecodeWarning(const moby::buildkit::v1::frontend::WarnRequest& message) {
  solver::WarningEvent event;
  event.vertex = message.digest();
  DecodeWarningBody(message, event);
  return event;
}

}  // namespace cachalot::daemon
