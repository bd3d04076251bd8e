#include "store/log_room.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace cachalot::store {

namespace {

// More than any transaction takes that deletes: a page of 4 KiB for each of some hundred rows and their indexes.
constexpr std::int64_t kRoom = 4 << 20;
constexpr std::int64_t kLeastRoom = kRoom / 2;  // then more is taken

}  // namespace

absl::Status LogRoom::Ensure(std::int64_t used) {
  if (!log_.valid()) log_.reset(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
  struct stat status;
  if (!log_.valid() || ::fstat(log_.get(), &status) != 0) {
    if (errno == ENOENT) return absl::OkStatus();  // nothing was written yet
    return ErrnoError(absl::StrCat("open ", path_));
  }
  if (static_cast<std::int64_t>(status.st_blocks) * 512 >= used + kLeastRoom) return absl::OkStatus();
  if (::fallocate(log_.get(), FALLOC_FL_KEEP_SIZE, 0, used + kRoom) == 0 || errno == EOPNOTSUPP) return absl::OkStatus();
  return ErrnoError(absl::StrCat("set room aside for ", path_));
}

void LogRoom::GiveBack(const std::string& path) {
  const UniqueFd log(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  struct stat status;
  // Cutting a file to the size that it has frees what lies behind its end.
  if (log.valid() && ::fstat(log.get(), &status) == 0) [[maybe_unused]]
    const int cut = ::ftruncate(log.get(), status.st_size);
}

}  // namespace cachalot::store
