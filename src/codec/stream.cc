#include "codec/stream.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::codec {

absl::StatusOr<std::size_t> FdSource::Read(char* buffer, std::size_t size) {
  while (true) {
    const ssize_t n = ::read(fd_.get(), buffer, size);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) return ErrnoError(absl::StrCat("read ", name_));
  }
}

absl::StatusOr<std::size_t> StringSource::Read(char* buffer, std::size_t size) {
  const std::size_t n = std::min(size, left_.size());
  std::copy_n(left_.data(), n, buffer);
  left_.remove_prefix(n);
  return n;
}

absl::Status FdSink::Write(absl::string_view bytes) { return WriteFully(fd_, bytes, name_); }

absl::Status StringSink::Write(absl::string_view bytes) {
  bytes_.append(bytes.data(), bytes.size());
  return absl::OkStatus();
}

absl::Status WriteFully(int fd, absl::string_view bytes, absl::string_view name) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(absl::StrCat("write ", name));
    }
    bytes.remove_prefix(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::size_t> ReadFully(Source& source, char* buffer, std::size_t size) {
  std::size_t filled = 0;
  while (filled < size) {
    ASSIGN_OR_RETURN(const std::size_t n, source.Read(buffer + filled, size - filled));
    if (n == 0) break;
    filled += n;
  }
  return filled;
}

absl::StatusOr<std::int64_t> Copy(Source& from, Sink& to) {
  std::vector<char> buffer(kBlockSize);
  std::int64_t total = 0;
  while (true) {
    ASSIGN_OR_RETURN(const std::size_t n, from.Read(buffer.data(), buffer.size()));
    if (n == 0) return total;
    RETURN_IF_ERROR(to.Write(absl::string_view(buffer.data(), n)));
    total += static_cast<std::int64_t>(n);
  }
}

absl::StatusOr<std::string> ReadAll(Source& source, std::size_t limit) {
  std::string all;
  std::vector<char> buffer(std::min(kBlockSize, limit + 1));
  while (true) {
    ASSIGN_OR_RETURN(const std::size_t n, source.Read(buffer.data(), buffer.size()));
    if (n == 0) return all;
    if (all.size() + n > limit) return absl::OutOfRangeError(absl::StrCat("more than the ", limit, " bytes allowed"));
    all.append(buffer.data(), n);
  }
}

}  // namespace cachalot::codec
