// Runs the work of an RPC as a plain blocking function on a thread of a pool. gRPC's callback interface carries the call, since
// only that one tells at once when a client goes away: the function's token is cancelled then.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <mutex>
#include <utility>

#include "absl/status/status.h"
#include "base/cancel.h"
#include "base/worker_pool.h"

namespace cachalot::daemon {

// What every call needs: threads to work on, and the token that stops all calls when the daemon stops.
struct CallContext {
  WorkerPool* pool;
  CancelToken stop;
};

class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  explicit UnaryCall(const CancelToken& stop) : source_(stop) {}
  CancelToken cancel() const { return source_.token(); }
  void OnCancel() override { source_.Cancel(); }
  void OnDone() override { delete this; }

 private:
  CancelSource source_;
};

// `work`: grpc::Status(const CancelToken&). The request and response messages live until it returns.
template <typename Work>
grpc::ServerUnaryReactor* RunUnary(const CallContext& context, Work work) {
  auto* call = new UnaryCall(context.stop);
  context.pool->Run([call, work = std::move(work)] { call->Finish(work(call->cancel())); });
  return call;
}

template <typename Message>
class StreamCall final : public grpc::ServerWriteReactor<Message> {
 public:
  explicit StreamCall(const CancelToken& stop) : source_(stop) {}
  CancelToken cancel() const { return source_.token(); }

  // Waits until the message is taken; CANCELLED when the client has gone.
  absl::Status Write(const Message& message) {
    std::unique_lock lock(mutex_);
    written_ = false;
    this->StartWrite(&message);
    changed_.wait(lock, [this] { return written_; });
    return ok_ ? absl::OkStatus() : absl::CancelledError("context canceled");
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    written_ = true;
    ok_ = ok;
    changed_.notify_one();
  }
  void OnCancel() override { source_.Cancel(); }
  void OnDone() override { delete this; }

 private:
  CancelSource source_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool written_ = false;
  bool ok_ = false;
};

// `work`: grpc::Status(StreamCall<Message>&, const CancelToken&). The request lives until it returns.
template <typename Message, typename Work>
grpc::ServerWriteReactor<Message>* RunStream(const CallContext& context, Work work) {
  auto* call = new StreamCall<Message>(context.stop);
  call->StartSendInitialMetadata();
  context.pool->Run([call, work = std::move(work)] { call->Finish(work(*call, call->cancel())); });
  return call;
}

}  // namespace cachalot::daemon
