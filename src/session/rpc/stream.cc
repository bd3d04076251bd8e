#include <nghttp2/nghttp2.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "session/rpc/connection.h"

namespace cachalot::session {
namespace {

constexpr std::size_t kMaxUnsent = 4 << 20;
constexpr std::size_t kBatchBytes = 64 << 10;
constexpr std::size_t kSmallBatchBytes = 8 << 10;
constexpr int kFewBatches = 8;

}  // namespace

RpcStream::RpcStream(std::shared_ptr<RpcConnection> connection, std::string method)
    : connection_(std::move(connection)), method_(std::move(method)) {}

void RpcStream::EndLocked(absl::Status status) {
  if (ended_) {
    return;
  }
  ended_ = true;
  in_closed_ = true;
  status_ = std::move(status);
  out_.clear();
  out_at_ = 0;
  readable_.notify_all();
  writable_.notify_all();
}

void RpcStream::CancelLocked(const absl::Status& reason) {
  if (ended_) {
    return;
  }
  EndLocked(reason);
  in_.clear();
  if (connection_->session_ != nullptr && id_ >= 0) {
    nghttp2_submit_rst_stream(connection_->session_, NGHTTP2_FLAG_NONE, id_, NGHTTP2_CANCEL);
    connection_->WakeWriterLocked();
  }
}

// Waits on readable_ (the reading thread) until `ready`, ending the call when its deadline passes.
bool RpcStream::WaitLocked(std::unique_lock<std::mutex>& lock, const std::function<bool()>& ready) {
  if (!deadline_.has_value()) {
    readable_.wait(lock, ready);
    return true;
  }
  if (readable_.wait_until(lock, *deadline_, ready)) {
    return true;
  }
  CancelLocked(absl::DeadlineExceededError(absl::StrCat(method_, ": context deadline exceeded")));
  return false;
}

absl::Status RpcStream::Write(absl::string_view message) {
  if (message.size() > kMaxMessageBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(method_, ": message of ", message.size(), " bytes is larger than ", kMaxMessageBytes));
  }
  std::string framed;
  framed.reserve(message.size() + kMessagePrefixBytes);
  AppendMessage(message, framed);
  return WriteBatch(framed);
}

absl::Status RpcStream::WriteBatch(absl::string_view messages) {
  std::unique_lock<std::mutex> lock(connection_->mutex_);
  writable_.wait(lock, [&] { return ended_ || unsent() == 0 || unsent() + messages.size() <= kMaxUnsent; });
  if (ended_ || out_closed_) {
    return !ended_ || status_.ok() ? absl::AbortedError(absl::StrCat(method_, ": the call has ended")) : status_;
  }
  if (out_at_ > out_.size() / 2) {
    out_.erase(0, out_at_);
    out_at_ = 0;
  }
  out_.append(messages.data(), messages.size());
  if (out_idle_) {
    out_idle_ = false;
    nghttp2_session_resume_data(connection_->session_, id_);
    connection_->WakeWriterLocked();
  }
  return absl::OkStatus();
}

void RpcStream::CloseWrite() {
  std::unique_lock<std::mutex> lock(connection_->mutex_);
  if (ended_ || out_closed_) {
    return;
  }
  out_closed_ = true;
  if (out_idle_) {
    out_idle_ = false;
    nghttp2_session_resume_data(connection_->session_, id_);
  }
  connection_->WakeWriterLocked();
}

void RpcStream::End(const absl::Status& status) {
  {
    std::unique_lock<std::mutex> lock(connection_->mutex_);
    trailers_ = FieldsFromStatus(status);
  }
  CloseWrite();
}

absl::StatusOr<std::optional<absl::string_view>> RpcStream::NextInBatch() {
  const std::size_t have = batch_.size() - batch_at_;
  if (have < kMessagePrefixBytes) {
    return std::nullopt;
  }
  const auto* prefix = reinterpret_cast<const unsigned char*>(batch_.data() + batch_at_);
  const std::size_t size = std::size_t{prefix[1]} << 24 | prefix[2] << 16 | prefix[3] << 8 | prefix[4];
  if (prefix[0] != 0) {
    return absl::UnimplementedError(absl::StrCat(method_, ": compressed message, which was not offered"));
  }
  if (size > kMaxMessageBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(method_, ": received message larger than max (", size, " vs. ", kMaxMessageBytes, ")"));
  }
  if (have < kMessagePrefixBytes + size) {
    return std::nullopt;
  }
  const absl::string_view message(batch_.data() + batch_at_ + kMessagePrefixBytes, size);
  batch_at_ += kMessagePrefixBytes + size;
  return message;
}

// Takes what has arrived into the batch. False when the other end is through.
absl::StatusOr<bool> RpcStream::Refill() {
  batch_.erase(0, batch_at_);
  batch_at_ = 0;
  std::unique_lock<std::mutex> lock(connection_->mutex_);
  WaitLocked(lock, [&] { return in_closed_ || !in_.empty(); });
  if (read_patience_.count() > 0 && small_batches_ > kFewBatches && !in_closed_ && in_.size() < kBatchBytes) {
    wake_reader_at_ = kBatchBytes;
    readable_.wait_for(lock, read_patience_, [&] { return in_closed_ || in_.size() >= kBatchBytes; });
    wake_reader_at_ = 1;
  }
  if (in_.empty()) {
    return ended_ && !status_.ok() ? absl::StatusOr<bool>(status_) : false;
  }
  const std::size_t taken = in_.size();
  small_batches_ = taken < kSmallBatchBytes ? small_batches_ + 1 : small_batches_ / 2;
  if (batch_.empty()) {
    std::swap(batch_, in_);
  } else {
    batch_ += in_;
    in_.clear();
  }
  if (connection_->session_ != nullptr && !ended_) {
    nghttp2_session_consume_stream(connection_->session_, id_, taken);
    if (nghttp2_session_want_write(connection_->session_) != 0) {
      connection_->WakeWriterLocked();
    }
  }
  return true;
}

absl::StatusOr<std::optional<absl::string_view>> RpcStream::Read() {
  for (;;) {
    auto message = NextInBatch();
    if (!message.ok()) {
      Cancel(message.status());
      return message;
    }
    if (message->has_value()) {
      return message;
    }
    ASSIGN_OR_RETURN(const bool more, Refill());
    if (more) {
      continue;
    }
    if (!batch_.empty()) {
      return absl::InternalError(absl::StrCat(method_, ": the stream ended within a message"));
    }
    return std::nullopt;
  }
}

absl::Status RpcStream::Finish() {
  CloseWrite();
  for (;;) {
    ASSIGN_OR_RETURN(const auto message, Read());
    if (!message.has_value()) {
      break;
    }
  }
  std::unique_lock<std::mutex> lock(connection_->mutex_);
  WaitLocked(lock, [&] { return ended_; });
  return status_;
}

bool RpcStream::ended() {
  std::unique_lock<std::mutex> lock(connection_->mutex_);
  return ended_;
}

void RpcStream::Cancel(const absl::Status& reason) {
  std::unique_lock<std::mutex> lock(connection_->mutex_);
  CancelLocked(reason);
}

}  // namespace cachalot::session
