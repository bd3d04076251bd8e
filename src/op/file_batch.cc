#include "op/file_batch.h"

#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/parallel.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/worker_pool.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

constexpr std::size_t kFilesPerPiece = 32;
constexpr std::size_t kMaxPieces = 64;
constexpr int kHelpers = 3;  // threads beside the caller

absl::StatusOr<UniqueFd> Duplicate(int fd) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return ErrnoError("dup");
  return copy;
}

// Makes a new file's attributes what they should be, with as few calls as that takes.
absl::Status Adjust(int fd, const Attributes& wanted) {
  ASSIGN_OR_RETURN(const struct stat st, os::Stat(fd));
  const bool chown = st.st_uid != wanted.uid || st.st_gid != wanted.gid;
  if (chown && ::fchown(fd, wanted.uid, wanted.gid) != 0) return ErrnoError("chown");
  if ((chown || ((st.st_mode ^ wanted.mode) & 07777) != 0) && ::fchmod(fd, wanted.mode & 07777) != 0) return ErrnoError("chmod");
  const struct timespec times[2] = {wanted.atime, wanted.mtime};
  if (::futimens(fd, times) != 0) return ErrnoError("utime");
  return absl::OkStatus();
}

}  // namespace

absl::Status FileBatch::Add(const std::string& source, const SourceTree::Place& from, const std::string& target, const TreeWriter::Place& to,
                            const Attributes& attributes) {
  const std::string source_directory = DirName(source), target_directory = DirName(target);
  const bool same = !pieces_.empty() && pieces_.back().files.size() < kFilesPerPiece && pieces_.back().layer == from.layer &&
                    pieces_.back().source == source_directory && pieces_.back().target == target_directory;
  if (!same) {
    ASSIGN_OR_RETURN(UniqueFd from_directory, Duplicate(from.directory));
    ASSIGN_OR_RETURN(UniqueFd to_directory, Duplicate(to.parent));
    pieces_.push_back({from.layer, source_directory, target_directory, std::move(from_directory), std::move(to_directory), {}});
  }
  pieces_.back().files.push_back({from.name, to.name, attributes});
  return absl::OkStatus();
}

bool FileBatch::full() const { return pieces_.size() >= kMaxPieces; }

absl::Status FileBatch::CopyFile(const Piece& piece, const File& file) {
  const UniqueFd from(::openat(piece.from.get(), file.from.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!from.valid()) return ErrnoError("open the source");
  const UniqueFd to(::openat(piece.to.get(), file.to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, file.attributes.mode & 0777));
  if (!to.valid()) return ErrnoError("open");
  RETURN_IF_ERROR(CopyData(from.get(), to.get()));
  RETURN_IF_ERROR(Adjust(to.get(), file.attributes));
  // After the owner: a change of owner drops file capabilities.
  CopyXattrs(from.get(), to.get());
  return absl::OkStatus();
}

absl::Status FileBatch::Run() {
  const std::vector<Piece> pieces = std::move(pieces_);
  pieces_.clear();
  const auto copy = [&](std::size_t i) -> absl::Status {
    RETURN_IF_ERROR(cancel_.status());
    for (const File& file : pieces[i].files) {
      absl::Status copied = CopyFile(pieces[i], file);
      if (!copied.ok()) return Annotate(copied, absl::StrCat("failed to copy files: ", JoinPath(pieces[i].target, file.to)));
    }
    return absl::OkStatus();
  };
  WorkerPool pool("copy", kHelpers);  // threads start when there is more than one piece
  return ParallelFor(pool, kHelpers, pieces.size(), copy);
}

}  // namespace cachalot::op
