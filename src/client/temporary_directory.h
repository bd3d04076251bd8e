// Places for what a command keeps while it runs.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace cachalot::client {

// A directory below $TMPDIR, which only its owner may enter, and which goes with its object.
class TemporaryDirectory {
 public:
  static absl::StatusOr<TemporaryDirectory> Create();
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}
  TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  TemporaryDirectory& operator=(TemporaryDirectory&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~TemporaryDirectory();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace cachalot::client
