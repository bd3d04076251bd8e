#include "daemon/control_service.h"

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/filter.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "daemon/build_recording.h"
#include "daemon/policy_session.h"
#include "daemon/rpc_error.h"
#include "daemon/translate_progress.h"
#include "daemon/translate_solve.h"

namespace cachalot::daemon {

namespace {

namespace control = moby::buildkit::v1;

// Clients compare their clock with the daemon's by this header of the streams.
void AddTimestamp(grpc::CallbackServerContext& context) {
  context.AddInitialMetadata("buildkit-current-timestamp", absl::FormatTime("%Y-%m-%dT%H:%M:%E9SZ", absl::Now(), absl::UTCTimeZone()));
}

// The span of the client that a call belongs to.
std::optional<trace::Context> TraceOf(const grpc::CallbackServerContext& context) {
  const auto header = context.client_metadata().find("traceparent");
  if (header == context.client_metadata().end()) return std::nullopt;
  return trace::ParseTraceparent(absl::string_view(header->second.data(), header->second.size()));
}

// The bytes of the Session call as the session room wants them.
class SessionBytes final : public session::ByteStream {
 public:
  SessionBytes(grpc::ServerContext& context, ControlService::SessionStream& stream) : context_(context), stream_(stream) {}

  bool Read(std::string& chunk) override {
    if (!stream_.Read(&incoming_)) {
      return false;
    }
    chunk = std::move(*incoming_.mutable_data());
    return true;
  }
  bool Write(absl::string_view bytes) override {
    outgoing_.set_data(bytes.data(), bytes.size());
    return stream_.Write(outgoing_);
  }
  void Cancel() override { context_.TryCancel(); }

 private:
  grpc::ServerContext& context_;
  ControlService::SessionStream& stream_;
  control::BytesMessage incoming_;  // of the one thread that reads
  control::BytesMessage outgoing_;  // of the one thread that writes
};

std::optional<std::string> WorkerField(const build::WorkerInfo& worker, const std::vector<std::string>& field) {
  if (field.front() == "id") return worker.id;
  if (field.front() != "labels" || field.size() < 2) return std::nullopt;
  const auto label = worker.labels.find(absl::StrJoin(field.begin() + 1, field.end(), "."));
  return label == worker.labels.end() ? std::nullopt : std::optional(label->second);
}

}  // namespace

ControlService::Unary ControlService::Solve(Context* context, const control::SolveRequest* request, control::SolveResponse* response) {
  return RunUnary(calls_, [=, this, parent = TraceOf(*context)](const CancelToken& cancel) {
    auto decoded = DecodeSolve(*request);
    if (!decoded.ok()) {
      return ToBuildFailure(decoded.status());
    }
    if (!request->sourcepolicysession().empty()) {
      decoded->source_verifier = std::make_shared<SessionVerifier>(engine_.sessions(), request->sourcepolicysession());
    }
    LogDebug("solve ", decoded->ref, " begins, frontend \"", decoded->frontend, "\"");
    BuildRecording recording(engine_.blobs());
    const bool recorded = history_.Started(*decoded, parent);
    if (recorded) decoded->on_progress = [&](const build::ProgressBatch& batch) { recording.Add(batch); };
    auto result = engine_.Build(*decoded, cancel);
    if (recorded) history_.Completed(decoded->ref, recording, result);
    if (!result.ok()) {
      LogInfo("solve ", decoded->ref, " failed: ", result.status().message());
      return ToBuildFailure(result.status());
    }
    response->mutable_exporterresponse()->insert(result->exporter_response.begin(), result->exporter_response.end());
    return grpc::Status::OK;
  });
}

ControlService::Writer<control::StatusResponse> ControlService::Status(Context* context, const control::StatusRequest* request) {
  AddTimestamp(*context);
  return RunStream<control::StatusResponse>(calls_, [=, this](auto& stream, const CancelToken& cancel) {
    const auto send = [&](const build::ProgressBatch& batch) {
      for (const auto& message : EncodeProgress(batch)) {
        RETURN_IF_ERROR(stream.Write(message));
      }
      return absl::OkStatus();
    };
    const auto replayed = history_.Replay(request->ref(), [&](const control::StatusResponse& message) { return stream.Write(message); });
    if (!replayed.ok() || *replayed) {
      return ToGrpcStatus(replayed.status());
    }
    return ToGrpcStatus(engine_.Follow(request->ref(), send, cancel));
  });
}

ControlService::Unary ControlService::DiskUsage(Context* context, const control::DiskUsageRequest* request, control::DiskUsageResponse* response) {
  return RunUnary(calls_, [=, this](const CancelToken&) {
    const auto records = engine_.DiskUsage({request->filter().begin(), request->filter().end()});
    if (!records.ok()) {
      return ToGrpcStatus(records.status());
    }
    const absl::Time newest = absl::Now() - absl::Nanoseconds(request->agelimit());
    for (const auto& record : *records) {
      if (request->agelimit() == 0 || record.last_used_at.value_or(record.created_at) <= newest) {
        EncodeUsage(record, response->add_record());
      }
    }
    return grpc::Status::OK;
  });
}

ControlService::Writer<control::UsageRecord> ControlService::Prune(Context* context, const control::PruneRequest* request) {
  return RunStream<control::UsageRecord>(calls_, [=, this](auto& stream, const CancelToken&) {
    absl::Status sent;
    const auto on_deleted = [&](const snapshot::UsageRecord& record) {
      control::UsageRecord message;
      EncodeUsage(record, &message);
      if (sent.ok()) {
        sent = stream.Write(message);
      }
    };
    const absl::Status pruned = engine_.Prune(DecodePrune(*request), on_deleted);
    return ToGrpcStatus(pruned.ok() ? sent : pruned);
  });
}

ControlService::Unary ControlService::ListWorkers(Context* context, const control::ListWorkersRequest* request,
                                                  control::ListWorkersResponse* response) {
  return RunUnary(calls_, [=, this](const CancelToken&) {
    const build::WorkerInfo worker = engine_.worker();
    const auto filter = Filter::Parse({request->filter().begin(), request->filter().end()});
    if (!filter.ok()) {
      return ToGrpcStatus(filter.status());
    }
    if (filter->Matches([&](const std::vector<std::string>& field) { return WorkerField(worker, field); })) {
      EncodeWorker(worker, response->add_record());
    }
    return grpc::Status::OK;
  });
}

ControlService::Unary ControlService::Info(Context* context, const control::InfoRequest* request, control::InfoResponse* response) {
  EncodeVersion(response->mutable_buildkitversion());
  return RunUnary(calls_, [](const CancelToken&) { return grpc::Status::OK; });
}

ControlService::Writer<control::BuildHistoryEvent> ControlService::ListenBuildHistory(Context* context, const control::BuildHistoryRequest* request) {
  AddTimestamp(*context);
  return RunStream<control::BuildHistoryEvent>(calls_, [=, this](auto& stream, const CancelToken& cancel) {
    return ToGrpcStatus(history_.Listen(
        *request, [&](const control::BuildHistoryEvent& event) { return stream.Write(event); }, cancel));
  });
}

ControlService::Unary ControlService::UpdateBuildHistory(Context* context, const control::UpdateBuildHistoryRequest* request,
                                                         control::UpdateBuildHistoryResponse* response) {
  return RunUnary(calls_, [=, this](const CancelToken&) { return ToGrpcStatus(history_.Update(*request)); });
}

grpc::Status ControlService::Session(grpc::ServerContext* context, SessionStream* stream) {
  std::multimap<std::string, std::string> headers;
  for (const auto& [name, value] : context->client_metadata()) {
    headers.emplace(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
  }
  auto metadata = session::SessionMetadata::Parse(headers);
  if (!metadata.ok()) {
    return ToGrpcStatus(metadata.status());
  }
  const std::string id = metadata->id;
  stream->SendInitialMetadata();
  SessionBytes bytes(*context, *stream);
  const auto stopped = calls_.stop.OnCancel([&] { bytes.Cancel(); });
  const absl::Status status = engine_.sessions().Serve(*std::move(metadata), bytes);
  LogDebug("session ", id, " ended: ", status.message());
  // However the stream ended, the client that left does not care, and one whose tunnel broke sees that by itself.
  return grpc::Status::OK;
}

}  // namespace cachalot::daemon
