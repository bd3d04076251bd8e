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

// A call with streams both ways. One thread reads, any may write.
template <typename Incoming, typename Outgoing>
class BidiCall final : public grpc::ServerBidiReactor<Incoming, Outgoing> {
 public:
  explicit BidiCall(const CancelToken& stop) : source_(stop) {}
  CancelToken cancel() const { return source_.token(); }
  // Cancels what works on the call, as the client's leaving does.
  void Stop() { source_.Cancel(); }

  // Waits for the next message; false when the client sends no more, or has gone.
  bool Read(Incoming* message) {
    std::unique_lock lock(mutex_);
    read_ = kPending;
    this->StartRead(message);
    changed_.wait(lock, [this] { return read_ != kPending; });
    return read_ == kDone;
  }
  // As StreamCall's.
  absl::Status Write(const Outgoing& message) {
    std::lock_guard one_at_a_time(writing_);
    std::unique_lock lock(mutex_);
    written_ = kPending;
    this->StartWrite(&message);
    changed_.wait(lock, [this] { return written_ != kPending; });
    return written_ == kDone ? absl::OkStatus() : absl::CancelledError("context canceled");
  }

  void OnReadDone(bool ok) override { Set(read_, ok); }
  void OnWriteDone(bool ok) override { Set(written_, ok); }
  void OnCancel() override { source_.Cancel(); }
  void OnDone() override { delete this; }

 private:
  enum Progress { kPending, kDone, kFailed };
  void Set(Progress& progress, bool ok) {
    std::lock_guard lock(mutex_);
    progress = ok ? kDone : kFailed;
    changed_.notify_all();
  }

  CancelSource source_;
  std::mutex writing_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Progress read_ = kDone, written_ = kDone;
};

// `work`: grpc::Status(BidiCall<Incoming, Outgoing>&). It returns when no other thread uses the call any more.
template <typename Incoming, typename Outgoing, typename Work>
grpc::ServerBidiReactor<Incoming, Outgoing>* RunBidi(const CallContext& context, Work work) {
  auto* call = new BidiCall<Incoming, Outgoing>(context.stop);
  call->StartSendInitialMetadata();
  context.pool->Run([call, work = std::move(work)] { call->Finish(work(*call)); });
  return call;
}

}  // namespace cachalot::daemon
