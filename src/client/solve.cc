#include "client/solve.h"

#include <chrono>
#include <thread>
#include <utility>

#include "base/guarded.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/thread.h"
#include "buildkit/control.grpc.pb.h"
#include "daemon/rpc_error.h"
#include "daemon/translate_progress.h"

namespace cachalot::client {

namespace {

namespace control = moby::buildkit::v1;

// After the build has ended its last progress is waited for, as long as some comes.
constexpr std::chrono::seconds kProgressPatience(5);

// The client's end of Control.Session as a stream of bytes.
class SessionCall final : public session::ByteStream {
 public:
  SessionCall(control::Control::StubInterface& stub, const Attachables& attachables) {
    for (const auto& [name, value] : attachables.headers()) {
      context_.AddMetadata(name, value);
    }
    stream_ = stub.Session(&context_);
  }

  bool Read(std::string& chunk) override {
    if (!stream_->Read(&incoming_)) {
      return false;
    }
    chunk = std::move(*incoming_.mutable_data());
    return true;
  }
  bool Write(absl::string_view bytes) override {
    outgoing_.set_data(bytes.data(), bytes.size());
    return stream_->Write(outgoing_);
  }
  void Cancel() override { context_.TryCancel(); }
  void Finish() {
    context_.TryCancel();
    stream_->Finish();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriterInterface<control::BytesMessage, control::BytesMessage>> stream_;
  control::BytesMessage incoming_;  // of the thread that reads
  control::BytesMessage outgoing_;  // of the thread that writes
};

// Follows the progress on a thread of its own.
class ProgressFollower {
 public:
  ProgressFollower(control::Control::StubInterface& stub, const std::string& ref, std::function<void(const build::ProgressBatch&)> on_progress)
      : thread_(NewThread([this, &stub, ref, on_progress = std::move(on_progress)] { Follow(stub, ref, on_progress); })) {}

  // Waits for the end of the stream, or for a pause that is too long.
  void Finish() {
    auto state = state_.Lock();
    std::int64_t seen = -1;
    while (!state->ended && seen != state->batches) {
      seen = state->batches;
      state.WaitUntil(std::chrono::steady_clock::now() + kProgressPatience, [&](State& now) { return now.ended || now.batches != seen; });
    }
  }
  ~ProgressFollower() {
    context_.TryCancel();
    thread_.join();
  }

 private:
  struct State {
    std::int64_t batches = 0;
    bool ended = false;
  };

  void Follow(control::Control::StubInterface& stub, const std::string& ref, const std::function<void(const build::ProgressBatch&)>& on_progress) {
    control::StatusRequest request;
    request.set_ref(ref);
    const auto reader = stub.Status(&context_, request);
    control::StatusResponse message;
    while (reader->Read(&message)) {
      on_progress(daemon::DecodeProgress(message));
      ++state_.Lock()->batches;
      state_.NotifyAll();
    }
    reader->Finish();  // a failed build is reported by its Solve call
    state_.Lock()->ended = true;
    state_.NotifyAll();
  }

  grpc::ClientContext context_;
  Guarded<State> state_;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<SolveOutcome> Solve(Connection& connection, control::SolveRequest request, Attachables& attachables,
                                   const std::function<void(const build::ProgressBatch&)>& on_progress, const CancelToken& cancel) {
  const auto stub = control::Control::NewStub(connection.channel());
  if (request.ref().empty()) {
    request.set_ref(RandomId());
  }
  request.set_session(attachables.id());
  CancelSource ended;
  SessionCall session(*stub, attachables);
  std::thread serving = NewThread([&] { attachables.Serve(session, ended.token()).IgnoreError(); });
  control::SolveResponse response;
  grpc::Status status;
  {
    ProgressFollower progress(*stub, request.ref(), on_progress);
    grpc::ClientContext context;
    {
      const auto cancelled = cancel.OnCancel([&] { context.TryCancel(); });
      status = stub->Solve(&context, request, &response);
    }
    progress.Finish();
  }
  ended.Cancel();
  session.Cancel();
  serving.join();
  session.Finish();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && status.error_message() == "Socket closed") {
    status = grpc::Status(grpc::StatusCode::UNAVAILABLE, "the engine, or the connection to it, came to an end before the build did");
  }
  if (!status.ok()) {
    return cancel.cancelled() ? cancel.status() : Annotate(daemon::FromGrpcStatus(status), "failed to solve");
  }
  return SolveOutcome{{response.exporterresponse().begin(), response.exporterresponse().end()}};
}

}  // namespace cachalot::client
