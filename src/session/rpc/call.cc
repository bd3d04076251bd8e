#include "session/rpc/call.h"

#include "base/worker_pool.h"

namespace cachalot::session {
namespace {

constexpr int kMaxHandlerThreads = 256;

}  // namespace

absl::StatusOr<RpcCall> RpcCall::Start(RpcConnection& connection, absl::string_view method, const Metadata& metadata, const CancelToken& cancel,
                                       absl::Duration timeout) {
  RpcCall call;
  ASSIGN_OR_RETURN(call.stream_, connection.Start(method, metadata, timeout));
  call.registration_ = cancel.OnCancel([stream = call.stream_, cancel] { stream->Cancel(cancel.status()); });
  return call;
}

RpcCall::~RpcCall() {
  if (stream_ != nullptr) {
    stream_->Cancel(absl::CancelledError("context canceled"));
  }
}

absl::StatusOr<std::string> CallUnary(RpcConnection& connection, absl::string_view method, absl::string_view request, const CancelToken& cancel,
                                      absl::Duration timeout) {
  ASSIGN_OR_RETURN(const RpcCall call, RpcCall::Start(connection, method, {}, cancel, timeout));
  // A server may end the call before it has the request; its status says more than the failed write.
  call->Write(request).IgnoreError();
  call->CloseWrite();
  ASSIGN_OR_RETURN(const auto message, call->Read());
  if (!message.has_value()) {
    return absl::InternalError(absl::StrCat(method, ": no answer"));
  }
  std::string response(message->data(), message->size());
  RETURN_IF_ERROR(call->Finish());
  return response;
}

absl::Status ServeRpc(ByteStream& bytes, const RpcHandlers& handlers, const CancelToken& cancel) {
  WorkerPool pool("session-call", kMaxHandlerThreads);
  const auto on_call = [&](std::shared_ptr<RpcStream> stream) {
    pool.Run([&handlers, stream = std::move(stream)] {
      const auto handler = handlers.find(stream->method());
      stream->End(handler == handlers.end() ? absl::UnimplementedError(absl::StrCat("unknown method ", stream->method())) : handler->second(*stream));
    });
  };
  const auto connection = RpcConnection::Create(RpcConnection::Role::kServes, on_call);
  const auto registration = cancel.OnCancel([weak = std::weak_ptr<RpcConnection>(connection), cancel] {
    if (const auto alive = weak.lock()) {
      alive->Close(cancel.status());
    }
  });
  return connection->Run(bytes);
}

}  // namespace cachalot::session
