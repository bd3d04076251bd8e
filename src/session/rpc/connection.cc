#include "session/rpc/connection.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/thread.h"

namespace cachalot::session {
namespace {

// A context of many small files would otherwise wait for window updates most of the time.
constexpr std::int32_t kStreamWindow = 16 << 20;
constexpr std::int32_t kConnectionWindow = 64 << 20;
constexpr std::uint32_t kMaxFrame = 1 << 20;
constexpr std::size_t kMaxFieldBytes = 1 << 20;
constexpr std::size_t kGather = 256 << 10;  // more, and the other end waits for it while this one waits for the other's window
constexpr std::uint32_t kMaxStreams = 250;

absl::Status StatusOfReset(std::uint32_t error_code) {
  const std::string text = absl::StrCat("stream terminated by RST_STREAM with error code: ", nghttp2_http2_strerror(error_code));
  switch (error_code) {
    case NGHTTP2_CANCEL: return absl::CancelledError("context canceled");
    case NGHTTP2_REFUSED_STREAM: return absl::UnavailableError(text);
    case NGHTTP2_ENHANCE_YOUR_CALM: return absl::ResourceExhaustedError(text);
    case NGHTTP2_INADEQUATE_SECURITY: return absl::PermissionDeniedError(text);
    default: return absl::InternalError(text);
  }
}

class Fields {
 public:
  void Add(absl::string_view name, absl::string_view value) { fields_.emplace_back(std::string(name), EncodeFieldValue(name, value)); }
  void AddAll(const Metadata& metadata) {
    for (const auto& [name, value] : metadata) {
      Add(name, value);
    }
  }
  std::vector<nghttp2_nv> View() {
    std::vector<nghttp2_nv> view;
    for (auto& [name, value] : fields_) {
      view.push_back({reinterpret_cast<std::uint8_t*>(name.data()), reinterpret_cast<std::uint8_t*>(value.data()), name.size(), value.size(),
                      NGHTTP2_NV_FLAG_NONE});
    }
    return view;
  }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

}  // namespace

// What nghttp2 calls, always with the connection's mutex held.
struct RpcCallbacks {
  static RpcConnection& Self(void* user_data) { return *static_cast<RpcConnection*>(user_data); }

  static int OnBeginHeaders(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    RpcConnection& self = Self(user_data);
    if (self.role_ == RpcConnection::Role::kServes && frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      auto stream = std::make_shared<RpcStream>(self.shared_from_this(), "");
      stream->id_ = frame->hd.stream_id;
      self.streams_[frame->hd.stream_id] = std::move(stream);
    }
    return 0;
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size, const std::uint8_t* value,
                      std::size_t value_size, std::uint8_t, void* user_data) {
    RpcStream* stream = Self(user_data).FindLocked(frame->hd.stream_id);
    if (stream == nullptr) {
      return 0;
    }
    stream->field_bytes_ += name_size + value_size + 32;
    if (stream->field_bytes_ > kMaxFieldBytes) {
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    const std::string key(reinterpret_cast<const char*>(name), name_size);
    const absl::string_view text(reinterpret_cast<const char*>(value), value_size);
    stream->fields_.emplace_back(key, DecodeFieldValue(key, text));
    return 0;
  }

  static int OnFrame(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) {
    RpcConnection& self = Self(user_data);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) {
      return 0;
    }
    RpcStream* stream = self.FindLocked(frame->hd.stream_id);
    if (stream == nullptr) {
      return 0;
    }
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      Accept(self, self.streams_[frame->hd.stream_id]);
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) {
      return 0;
    }
    if (self.role_ == RpcConnection::Role::kCalls) {
      const bool unsent_end = !stream->out_closed_;
      stream->EndLocked(StatusFromFields(stream->fields_));
      if (unsent_end) {  // the server answered without waiting for our end
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id_, NGHTTP2_NO_ERROR);
      }
    }
    stream->in_closed_ = true;
    stream->readable_.notify_all();
    return 0;
  }

  static void Accept(RpcConnection& self, const std::shared_ptr<RpcStream>& stream) {
    stream->request_ = std::exchange(stream->fields_, {});
    stream->method_ = FindMetadata(stream->request_, ":path").value_or("");
    Fields fields;
    fields.Add(":status", "200");
    fields.Add("content-type", "application/grpc");
    const auto view = fields.View();
    nghttp2_data_provider provider = Provider(stream.get());
    nghttp2_submit_response(self.session_, stream->id_, view.data(), view.size(), &provider);
    self.on_call_(stream);
  }

  static int OnData(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* data, std::size_t size, void* user_data) {
    // The connection's window is given back at once, so that a call whose reader is slow does not hold up the others.
    nghttp2_session_consume_connection(session, size);
    RpcStream* stream = Self(user_data).FindLocked(id);
    if (stream == nullptr || stream->ended_) {
      nghttp2_session_consume_stream(session, id, size);
      return 0;
    }
    stream->in_.append(reinterpret_cast<const char*>(data), size);
    if (stream->in_.size() >= stream->wake_reader_at_) {
      stream->readable_.notify_all();
    }
    return 0;
  }

  static int OnClose(nghttp2_session*, std::int32_t id, std::uint32_t error_code, void* user_data) {
    RpcConnection& self = Self(user_data);
    const auto found = self.streams_.find(id);
    if (found == self.streams_.end()) {
      return 0;
    }
    const std::shared_ptr<RpcStream> stream = found->second;
    self.streams_.erase(found);
    if (self.role_ == RpcConnection::Role::kServes && error_code == NGHTTP2_NO_ERROR) {
      stream->EndLocked(absl::OkStatus());
    } else if (FindMetadata(stream->fields_, "grpc-status").has_value()) {
      stream->EndLocked(StatusFromFields(stream->fields_));
    } else {
      stream->EndLocked(StatusOfReset(error_code));
    }
    return 0;
  }

  static int OnSent(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) {
    RpcConnection& self = Self(user_data);
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
      self.StopLocked(absl::InternalError(absl::StrCat("HTTP/2: ", nghttp2_http2_strerror(frame->goaway.error_code))));
    }
    if (self.role_ != RpcConnection::Role::kServes || frame->hd.type != NGHTTP2_HEADERS || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) {
      return 0;
    }
    // A caller that still writes learns that nobody reads.
    RpcStream* stream = self.FindLocked(frame->hd.stream_id);
    if (stream != nullptr && !stream->in_closed_) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  static ssize_t ReadLength(nghttp2_session*, std::uint8_t, std::int32_t, std::int32_t session_window, std::int32_t stream_window,
                            std::uint32_t max_frame, void*) {
    return std::min(
        {static_cast<ssize_t>(session_window), static_cast<ssize_t>(stream_window), static_cast<ssize_t>(max_frame), static_cast<ssize_t>(kGather)});
  }

  static ssize_t ReadOut(nghttp2_session* session, std::int32_t id, std::uint8_t* buffer, std::size_t size, std::uint32_t* flags,
                         nghttp2_data_source* source, void* user_data) {
    RpcConnection& self = Self(user_data);
    auto* stream = static_cast<RpcStream*>(source->ptr);
    const std::size_t count = std::min(size, stream->unsent());
    std::memcpy(buffer, stream->out_.data() + stream->out_at_, count);
    stream->out_at_ += count;
    if (stream->unsent() == 0) {
      stream->out_.clear();
      stream->out_at_ = 0;
    }
    if (count > 0) {
      stream->writable_.notify_all();
    }
    if (stream->unsent() == 0 && stream->out_closed_) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      if (self.role_ == RpcConnection::Role::kServes) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        Fields fields;
        fields.AddAll(stream->trailers_);
        const auto view = fields.View();
        nghttp2_submit_trailer(session, id, view.data(), view.size());
      }
      return static_cast<ssize_t>(count);
    }
    if (count == 0) {
      stream->out_idle_ = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    return static_cast<ssize_t>(count);
  }

  static nghttp2_data_provider Provider(RpcStream* stream) {
    nghttp2_data_provider provider;
    provider.source.ptr = stream;
    provider.read_callback = ReadOut;
    return provider;
  }
};

RpcConnection::RpcConnection(Role role, OnCall on_call) : role_(role), on_call_(std::move(on_call)) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, RpcCallbacks::OnBeginHeaders);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, RpcCallbacks::OnHeader);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, RpcCallbacks::OnFrame);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, RpcCallbacks::OnData);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, RpcCallbacks::OnClose);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, RpcCallbacks::OnSent);
  nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, RpcCallbacks::ReadLength);
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_max_send_header_block_length(option, 8 << 20);
  nghttp2_option_set_max_continuations(option, kMaxFieldBytes / 16384);
  nghttp2_option_set_peer_max_concurrent_streams(option, kMaxStreams);
  const auto create = role == Role::kCalls ? nghttp2_session_client_new2 : nghttp2_session_server_new2;
  create(&session_, callbacks, this, option);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
                                             {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kMaxFrame},
                                             {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, kMaxFieldBytes},
                                             {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kMaxStreams},
                                             {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
  // A server must not send ENABLE_PUSH, the last entry.
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, role == Role::kCalls ? std::size(settings) : std::size(settings) - 1);
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
}

std::shared_ptr<RpcConnection> RpcConnection::Create(Role role, OnCall on_call) {
  return std::shared_ptr<RpcConnection>(new RpcConnection(role, std::move(on_call)));
}

RpcConnection::~RpcConnection() { nghttp2_session_del(session_); }

RpcStream* RpcConnection::FindLocked(std::int32_t id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second.get();
}

void RpcConnection::WakeWriterLocked() {
  if (writer_waits_) {
    writer_.notify_one();
  }
}

void RpcConnection::StopLocked(const absl::Status& reason) {
  if (stopped_) {
    return;
  }
  stopped_ = true;
  reason_ = reason;
  const absl::Status gone = reason.ok() ? absl::UnavailableError("the client's session is gone")
                                        : absl::UnavailableError(absl::StrCat("the client's session is gone: ", reason.message()));
  for (auto& [id, stream] : streams_) {
    stream->EndLocked(gone);
    stream->in_.clear();
  }
  writer_.notify_all();
}

void RpcConnection::Close(absl::Status reason) {
  std::unique_lock<std::mutex> lock(mutex_);
  StopLocked(reason);
  if (bytes_ != nullptr) {
    bytes_->Cancel();
  }
}

absl::StatusOr<std::shared_ptr<RpcStream>> RpcConnection::Start(absl::string_view method, const Metadata& metadata, absl::Duration timeout) {
  Fields fields;
  fields.Add(":method", "POST");
  fields.Add(":scheme", "http");
  fields.Add(":path", method);
  fields.Add(":authority", "localhost");
  fields.Add("content-type", "application/grpc");
  fields.Add("user-agent", "cachalot");
  fields.Add("te", "trailers");
  if (timeout < absl::Hours(24)) {
    fields.Add("grpc-timeout", EncodeTimeout(timeout));
  }
  fields.AddAll(metadata);
  const auto view = fields.View();
  auto stream = std::make_shared<RpcStream>(shared_from_this(), std::string(method));
  nghttp2_data_provider provider = RpcCallbacks::Provider(stream.get());
  std::unique_lock<std::mutex> lock(mutex_);
  if (stopped_) {
    return absl::UnavailableError(absl::StrCat(method, ": the client's session is gone"));
  }
  if (timeout < absl::Hours(24)) {
    stream->deadline_ = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
  }
  const std::int32_t id = nghttp2_submit_request(session_, nullptr, view.data(), view.size(), &provider, nullptr);
  if (id < 0) {
    return absl::InternalError(absl::StrCat(method, ": ", nghttp2_strerror(id)));
  }
  stream->id_ = id;
  streams_[id] = stream;
  WakeWriterLocked();
  return stream;
}

void RpcConnection::GatherLocked(std::string& out) {
  out.clear();
  while (out.size() < kGather) {
    const std::uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size < 0) {
      StopLocked(absl::InternalError(absl::StrCat("HTTP/2: ", nghttp2_strerror(static_cast<int>(size)))));
    }
    if (size <= 0) {
      return;
    }
    out.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
  }
}

void RpcConnection::WriteLoop(ByteStream& bytes) {
  std::string out;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopped_) {
    GatherLocked(out);
    if (out.empty() && nghttp2_session_want_read(session_) == 0) {
      StopLocked(absl::OkStatus());
    } else if (out.empty()) {
      writer_waits_ = true;
      writer_.wait(lock, [&] { return stopped_ || nghttp2_session_want_write(session_) != 0 || nghttp2_session_want_read(session_) == 0; });
      writer_waits_ = false;
    }
    if (out.empty()) {
      continue;
    }
    lock.unlock();
    const bool written = bytes.Write(out);
    lock.lock();
    if (!written) {
      StopLocked(absl::OkStatus());
    }
  }
  lock.unlock();
  bytes.Cancel();  // the reading thread ends as well
}

void RpcConnection::ReadLoop(ByteStream& bytes) {
  std::string chunk;
  while (bytes.Read(chunk)) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (stopped_) {
      return;
    }
    const ssize_t taken = nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(chunk.data()), chunk.size());
    if (taken < 0) {
      StopLocked(absl::InternalError(absl::StrCat("HTTP/2: ", nghttp2_strerror(static_cast<int>(taken)))));
      return;
    }
    const bool over = nghttp2_session_want_read(session_) == 0;  // the writer sends what is left and ends
    if (over || nghttp2_session_want_write(session_) != 0) {
      WakeWriterLocked();
    }
  }
}

absl::Status RpcConnection::Run(ByteStream& bytes) {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    if (stopped_) {
      bytes.Cancel();
      return reason_;
    }
    bytes_ = &bytes;
  }
  std::thread writer = NewThread([&] { WriteLoop(bytes); });
  ReadLoop(bytes);
  {
    std::unique_lock<std::mutex> lock(mutex_);
    StopLocked(absl::OkStatus());
    bytes_ = nullptr;
  }
  bytes.Cancel();
  writer.join();
  std::unique_lock<std::mutex> lock(mutex_);
  streams_.clear();
  return reason_;
}

}  // namespace cachalot::session
