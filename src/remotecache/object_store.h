// Objects under keys, as clouds keep them: what a cache needs of them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancel.h"

namespace cachalot::remotecache {

// Thread-safe. Keys are whole: prefixes included.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;
  // A small object, or nothing when there is none.
  virtual absl::StatusOr<std::optional<std::string>> Read(const std::string& key, std::size_t max_bytes, const CancelToken& cancel) = 0;
  // When it fails in a way that may pass, `pause` becomes the time that the store asks to wait.
  virtual absl::Status Fetch(const std::string& key, const std::function<absl::Status(absl::string_view)>& sink, std::optional<absl::Duration>& pause,
                             const CancelToken& cancel) = 0;
  // When the object was written, or nothing when there is none.
  virtual absl::StatusOr<std::optional<absl::Time>> WrittenAt(const std::string& key, const CancelToken& cancel) = 0;
  // Makes the object as young as if it had been written now.
  virtual absl::Status Touch(const std::string& key, const CancelToken& cancel) = 0;
  // Reads up to `room` bytes at `offset`; may be asked for a part again.
  using Body = std::function<absl::StatusOr<std::size_t>(std::int64_t offset, char* out, std::size_t room)>;
  // Writes `size` bytes with this sha256 (64 hex digits).
  virtual absl::Status Write(const std::string& key, std::int64_t size, const std::string& sha256, const Body& body, const CancelToken& cancel) = 0;
};

// Where a cache's objects are.
struct ObjectLayout {
  std::string configs, blobs;                               // what keys begin with: of cache configs, and of layers
  std::vector<std::string> names;                           // of the configs
  absl::Duration touch_refresh = absl::InfiniteDuration();  // what is older is touched when it is used again: buckets delete by age
};

}  // namespace cachalot::remotecache
