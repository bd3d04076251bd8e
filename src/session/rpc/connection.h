// gRPC calls over one HTTP/2 connection that is carried by a ByteStream. Both ends are here: the daemon calls, the client serves.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "session/byte_stream.h"
#include "session/rpc/wire.h"

struct nghttp2_session;
struct nghttp2_session_callbacks;

namespace cachalot::session {

class RpcConnection;

// One call, seen from either end. One thread reads while another writes; the rest is callable from any thread.
class RpcStream {
 public:
  RpcStream(std::shared_ptr<RpcConnection> connection, std::string method);
  RpcStream(const RpcStream&) = delete;

  // "/package.Service/Method".
  const std::string& method() const { return method_; }
  // What the caller sent with the call (serving end).
  const Metadata& metadata() const { return request_; }

  // Queues one message; waits while much is unsent. Once the call has ended: its status, or ABORTED when that is OK.
  absl::Status Write(absl::string_view message);
  // The same for a batch of messages, each already in the form of AppendMessage: cheaper than one by one.
  absl::Status WriteBatch(absl::string_view messages);
  // The calling end writes no more.
  void CloseWrite();
  // The next message, valid until the next Read; nullopt when the other end sends no more and all is well.
  absl::StatusOr<std::optional<absl::string_view>> Read();
  // Makes Read prefer batches once messages keep coming in dribs: it then waits this long for more, so that a long stream of
  // tiny messages does not wake the reader for each of them.
  void set_read_patience(std::chrono::microseconds patience) { read_patience_ = patience; }
  // The calling end: waits for the end of the call, ignoring further messages, and returns the server's status.
  absl::Status Finish();
  // Whether the call has ended.
  bool ended();
  // Ends the call at once: both ends see it fail. No-op when it has ended.
  void Cancel(const absl::Status& reason);
  // The serving end: ends the call with `status` once all that was written is sent.
  void End(const absl::Status& status);

 private:
  friend class RpcConnection;
  friend struct RpcCallbacks;

  // These need the connection's mutex.
  void EndLocked(absl::Status status);
  void CancelLocked(const absl::Status& reason);
  bool WaitLocked(std::unique_lock<std::mutex>& lock, const std::function<bool()>& ready);
  std::size_t unsent() const { return out_.size() - out_at_; }

  absl::StatusOr<bool> Refill();
  absl::StatusOr<std::optional<absl::string_view>> NextInBatch();

  const std::shared_ptr<RpcConnection> connection_;
  // Fixed before any thread but nghttp2's sees the call.
  std::string method_;
  Metadata request_;
  std::chrono::microseconds read_patience_{0};

  // Of the reading thread alone: received bytes, consumed up to batch_at_.
  std::string batch_;
  std::size_t batch_at_ = 0;
  int small_batches_ = 0;  // in a row

  // Guarded by the connection's mutex.
  std::condition_variable readable_, writable_;
  std::int32_t id_ = -1;
  Metadata fields_;  // header and trailer fields of the other end
  std::size_t field_bytes_ = 0;
  std::string in_;
  std::size_t wake_reader_at_ = 1;  // bytes in `in_`
  bool in_closed_ = false;          // the other end sends no more
  std::string out_;
  std::size_t out_at_ = 0;
  bool out_closed_ = false;
  bool out_idle_ = false;  // nghttp2 waits for more from `out_`
  Metadata trailers_;      // of the serving end
  bool ended_ = false;
  absl::Status status_;  // valid once ended_
  std::optional<std::chrono::steady_clock::time_point> deadline_;
};

class RpcConnection : public std::enable_shared_from_this<RpcConnection> {
 public:
  enum class Role { kCalls, kServes };
  // Told of every call that comes in. Runs with the connection's mutex held: it must hand the call to another thread.
  using OnCall = std::function<void(std::shared_ptr<RpcStream>)>;

  static std::shared_ptr<RpcConnection> Create(Role role, OnCall on_call = nullptr);
  ~RpcConnection();

  // Speaks over `bytes` until either end goes; call once. Then every call fails with UNAVAILABLE. Adds one thread to the caller's.
  absl::Status Run(ByteStream& bytes);
  // Makes Run return `reason`. From any thread.
  void Close(absl::Status reason);

  // Starts a call; possible before Run. `timeout` bounds the whole call.
  absl::StatusOr<std::shared_ptr<RpcStream>> Start(absl::string_view method, const Metadata& metadata, absl::Duration timeout);

 private:
  friend class RpcStream;
  friend struct RpcCallbacks;

  RpcConnection(Role role, OnCall on_call);
  void ReadLoop(ByteStream& bytes);
  void WriteLoop(ByteStream& bytes);
  // These need mutex_.
  void GatherLocked(std::string& out);
  void StopLocked(const absl::Status& reason);
  void WakeWriterLocked();
  RpcStream* FindLocked(std::int32_t id);

  const Role role_;
  const OnCall on_call_;
  std::mutex mutex_;
  std::condition_variable writer_;
  bool writer_waits_ = false;
  nghttp2_session* session_ = nullptr;
  std::unordered_map<std::int32_t, std::shared_ptr<RpcStream>> streams_;
  ByteStream* bytes_ = nullptr;  // while Run runs
  bool stopped_ = false;
  absl::Status reason_;  // why it stopped
};

}  // namespace cachalot::session
