// Byte streams: sources that are read, sinks that are written, and the plain ones of each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace cachalot::codec {

inline constexpr std::size_t kBlockSize = 256 * 1024;

class Source {
 public:
  virtual ~Source() = default;
  // Reads 1..size bytes into `buffer`; 0 only at the end (or when size is 0).
  virtual absl::StatusOr<std::size_t> Read(char* buffer, std::size_t size) = 0;
};

class Sink {
 public:
  virtual ~Sink() = default;
  virtual absl::Status Write(absl::string_view bytes) = 0;
};

// Reads a descriptor from its current position on.
class FdSource : public Source {
 public:
  // `name` is for error messages.
  FdSource(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  absl::StatusOr<std::size_t> Read(char* buffer, std::size_t size) override;

 private:
  UniqueFd fd_;
  std::string name_;
};

// Reads memory that outlives the source.
class StringSource : public Source {
 public:
  explicit StringSource(absl::string_view bytes) : left_(bytes) {}
  absl::StatusOr<std::size_t> Read(char* buffer, std::size_t size) override;

 private:
  absl::string_view left_;
};

// Writes to a descriptor that outlives the sink.
class FdSink : public Sink {
 public:
  FdSink(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  absl::Status Write(absl::string_view bytes) override;

 private:
  int fd_;
  std::string name_;
};

class StringSink : public Sink {
 public:
  absl::Status Write(absl::string_view bytes) override;
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Hands what is written to a function.
class FunctionSink : public Sink {
 public:
  explicit FunctionSink(std::function<absl::Status(absl::string_view)> write) : write_(std::move(write)) {}
  absl::Status Write(absl::string_view bytes) override { return write_(bytes); }

 private:
  std::function<absl::Status(absl::string_view)> write_;
};

// Writes all of `bytes` to `fd`; an error names `name`.
absl::Status WriteFully(int fd, absl::string_view bytes, absl::string_view name);
// Reads until `size` bytes are there or the source ends; returns how many are.
absl::StatusOr<std::size_t> ReadFully(Source& source, char* buffer, std::size_t size);
// Copies all of `from` into `to`; returns the number of bytes.
absl::StatusOr<std::int64_t> Copy(Source& from, Sink& to);
// All that is left in `source`; an error when that is more than `limit` bytes.
absl::StatusOr<std::string> ReadAll(Source& source, std::size_t limit);

// Reads `source` on a thread of its own, a few blocks ahead, so that producing and consuming overlap.
std::unique_ptr<Source> NewReadAhead(std::unique_ptr<Source> source);

}  // namespace cachalot::codec
