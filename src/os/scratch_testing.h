// A directory for one test.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "os/file.h"

namespace cachalot::os {

// Removed with all below it at the end.
class Scratch {
 public:
  Scratch() {
    const char* base = ::getenv("TMPDIR");
    path_ = absl::StrCat(base != nullptr ? base : "/tmp", "/cachalot-test-XXXXXX");
    if (::mkdtemp(path_.data()) == nullptr) ::abort();
  }
  ~Scratch() { (void)RemoveTree(path_); }
  Scratch(const Scratch&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(absl::string_view name) const { return absl::StrCat(path_, "/", name); }

 private:
  std::string path_;
};

inline bool CanMount() { return ::geteuid() == 0; }

}  // namespace cachalot::os
