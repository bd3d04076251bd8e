// A connection seen as chunks of bytes: what carries a session.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace cachalot::session {

// One end of a bidirectional stream. One thread reads while another writes.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Replaces `chunk` by the next bytes, waiting for them. False at the end, also when the connection broke.
  virtual bool Read(std::string& chunk) = 0;
  // Waits until the bytes are taken. False when the connection broke.
  virtual bool Write(absl::string_view bytes) = 0;
  // Ends both directions; Read and Write return, also those that wait now. Callable from any thread.
  virtual void Cancel() = 0;
};

// Two ends of a stream within the process. What one writes the other reads; destroying one ends the other. Either holds at most
// `capacity` unread bytes (more when a single write is larger).
std::pair<std::unique_ptr<ByteStream>, std::unique_ptr<ByteStream>> ByteStreamPair(std::size_t capacity = 4 << 20);

}  // namespace cachalot::session
