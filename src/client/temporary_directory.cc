#include "client/temporary_directory.h"

#include <stdlib.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace cachalot::client {

absl::StatusOr<TemporaryDirectory> TemporaryDirectory::Create() {
  std::error_code error;
  std::string path = (std::filesystem::temp_directory_path(error) / "cachalot-XXXXXX").string();
  if (error || mkdtemp(path.data()) == nullptr) {
    return ErrnoError(absl::StrCat("creating ", path));
  }
  return TemporaryDirectory(path);
}

TemporaryDirectory::~TemporaryDirectory() {
  if (!path_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
}

}  // namespace cachalot::client
