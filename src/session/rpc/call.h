// Calling and serving, with messages of protobuf.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancel.h"
#include "base/status_macros.h"
#include "session/rpc/connection.h"

namespace cachalot::session {

// The calling end of a call; it is cancelled with `cancel` and by its destruction.
class RpcCall {
 public:
  static absl::StatusOr<RpcCall> Start(RpcConnection& connection, absl::string_view method, const Metadata& metadata, const CancelToken& cancel,
                                       absl::Duration timeout = absl::InfiniteDuration());
  RpcCall(RpcCall&&) = default;
  RpcCall& operator=(RpcCall&&) = default;
  ~RpcCall();
  RpcStream* operator->() const { return stream_.get(); }
  RpcStream& operator*() const { return *stream_; }

 private:
  RpcCall() = default;
  std::shared_ptr<RpcStream> stream_;
  CancelToken::Registration registration_;
};

// One message there and one back.
absl::StatusOr<std::string> CallUnary(RpcConnection& connection, absl::string_view method, absl::string_view request, const CancelToken& cancel,
                                      absl::Duration timeout);

template <typename Response, typename Request>
absl::StatusOr<Response> CallUnary(RpcConnection& connection, absl::string_view method, const Request& request, const CancelToken& cancel,
                                   absl::Duration timeout) {
  ASSIGN_OR_RETURN(const std::string bytes, CallUnary(connection, method, request.SerializeAsString(), cancel, timeout));
  Response response;
  if (!response.ParseFromString(bytes)) {
    return absl::InternalError(absl::StrCat(method, ": malformed answer"));
  }
  return response;
}

template <typename Message>
absl::Status WriteMessage(RpcStream& stream, const Message& message) {
  return stream.Write(message.SerializeAsString());
}

// Reads and parses the next message; false when the other end sends no more.
template <typename Message>
absl::StatusOr<bool> ReadMessage(RpcStream& stream, Message& message) {
  ASSIGN_OR_RETURN(const auto bytes, stream.Read());
  if (!bytes.has_value()) {
    return false;
  }
  if (!message.ParseFromArray(bytes->data(), static_cast<int>(bytes->size()))) {
    return absl::InternalError(absl::StrCat(stream.method(), ": malformed message"));
  }
  return true;
}

// Serves one call; what it returns ends the call. Runs on a thread of its own.
using RpcHandler = std::function<absl::Status(RpcStream&)>;
// By method: "/package.Service/Method".
using RpcHandlers = std::map<std::string, RpcHandler>;

// Serves calls over `bytes` until the other end goes or `cancel` is cancelled. Returns once every handler has returned.
absl::Status ServeRpc(ByteStream& bytes, const RpcHandlers& handlers, const CancelToken& cancel);

// A handler for a method of one message there and one back.
template <typename Request, typename Response>
RpcHandler UnaryHandler(std::function<absl::Status(const Request&, Response*)> serve) {
  return [serve = std::move(serve)](RpcStream& stream) -> absl::Status {
    Request request;
    ASSIGN_OR_RETURN(const bool some, ReadMessage(stream, request));
    if (!some) {
      return absl::InternalError(absl::StrCat(stream.method(), ": no request"));
    }
    Response response;
    RETURN_IF_ERROR(serve(request, &response));
    return WriteMessage(stream, response);
  };
}

}  // namespace cachalot::session
