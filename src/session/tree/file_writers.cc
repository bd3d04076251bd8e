#include "session/tree/file_writers.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "os/file.h"
#include "session/tree/path_order.h"

namespace cachalot::session {
namespace {

constexpr unsigned kMaxThreads = 4;
constexpr std::size_t kMaxQueuedBytes = 16 << 20;  // per thread
// A file may grow while it is sent; one that never ends is refused.
constexpr std::int64_t kMaxGrowth = 64 << 20;

}  // namespace

absl::Status SetMetadata(int fd, const Stat& stat) {
  if (fchown(fd, stat.uid(), stat.gid()) != 0) {
    return ErrnoError(absl::StrCat("chown ", stat.path()));
  }
  ASSIGN_OR_RETURN(const mode_t mode, UnixMode(stat.mode()));
  if (fchmod(fd, mode & 07777) != 0) {
    return ErrnoError(absl::StrCat("chmod ", stat.path()));
  }
  for (const auto& [name, value] : stat.xattrs()) {
    if (IsAcceptedXattr(name)) {
      (void)fsetxattr(fd, name.c_str(), value.data(), value.size(), 0);  // not every file system has them
    }
  }
  const timespec modified = TimespecOf(stat.modtime());
  const timespec times[2] = {stat.change() == 0 ? modified : KeptMark(stat.change()), modified};
  if (futimens(fd, times) != 0) {
    return ErrnoError(absl::StrCat("set the times of ", stat.path()));
  }
  return absl::OkStatus();
}

FileWriters::FileWriters(int root) : root_(root) {
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1u, kMaxThreads);
  for (unsigned i = 0; i < threads; ++i) {
    shards_.push_back(std::make_unique<Shard>());
  }
}

FileWriters::~FileWriters() { Finish().IgnoreError(); }

absl::Status FileWriters::Write(const std::shared_ptr<NewFile>& file, absl::string_view data, bool last) {
  // Files of one directory share a thread: creating files contends for the directory's lock.
  Shard& shard = *shards_[absl::HashOf(ParentOf(file->stat.path())) % shards_.size()];
  std::unique_lock<std::mutex> lock(shard.mutex);
  if (!shard.thread.joinable()) {
    shard.thread = NewThread([this, &shard] { Loop(shard); });
  }
  shard.changed.wait(lock, [&] { return shard.queued_bytes < kMaxQueuedBytes || !shard.status.ok(); });
  RETURN_IF_ERROR(shard.status);
  if (last && data.empty() && !shard.queue.empty() && shard.queue.back().file == file) {
    shard.queue.back().last = true;
    return absl::OkStatus();
  }
  shard.queue.push_back({file, std::string(data), last});
  shard.queued_bytes += data.size();
  if (shard.writer_waits) {
    shard.changed.notify_all();
  }
  return absl::OkStatus();
}

absl::Status FileWriters::Finish() {
  absl::Status status;
  for (const auto& shard : shards_) {
    {
      std::unique_lock<std::mutex> lock(shard->mutex);
      shard->closed = true;
      shard->changed.notify_all();
    }
    if (shard->thread.joinable()) {
      shard->thread.join();
    }
    status.Update(shard->status);
  }
  return status;
}

void FileWriters::Loop(Shard& shard) {
  std::deque<Piece> pieces;
  Parent parent;
  std::unique_lock<std::mutex> lock(shard.mutex);
  for (;;) {
    shard.writer_waits = true;
    shard.changed.wait(lock, [&] { return !shard.queue.empty() || shard.closed; });
    shard.writer_waits = false;
    if (shard.queue.empty()) {
      return;
    }
    std::swap(pieces, shard.queue);
    lock.unlock();
    absl::Status status;
    std::size_t bytes = 0;
    for (const Piece& piece : pieces) {
      bytes += piece.data.size();
      if (status.ok()) {
        status = Apply(piece, parent);
      }
    }
    pieces.clear();
    lock.lock();
    shard.queued_bytes -= bytes;
    shard.status.Update(status);
    shard.changed.notify_all();
  }
}

absl::Status FileWriters::Apply(const Piece& piece, Parent& parent) {
  NewFile& file = *piece.file;
  const std::string& path = file.stat.path();
  if (!file.fd.valid()) {
    const absl::string_view directory = ParentOf(path);
    if (!parent.fd.valid() || parent.path != directory) {
      ASSIGN_OR_RETURN(parent.fd, os::OpenBeneath(root_, directory.empty() ? "." : directory, O_PATH | O_DIRECTORY | O_NOFOLLOW));
      parent.path = std::string(directory);
    }
    const std::string name(NameOf(path));
    file.fd.reset(openat(parent.fd.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file.fd.valid()) {
      return ErrnoError(absl::StrCat("create ", path));
    }
  }
  file.written += static_cast<std::int64_t>(piece.data.size());
  if (file.written - kMaxGrowth > file.stat.size()) {
    return absl::ResourceExhaustedError(absl::StrCat(path, " is sent with more than its ", file.stat.size(), " bytes"));
  }
  RETURN_IF_ERROR(os::WriteAll(file.fd.get(), piece.data, path));
  if (piece.last) {
    RETURN_IF_ERROR(SetMetadata(file.fd.get(), file.stat));
    file.fd.reset();
  }
  return absl::OkStatus();
}

}  // namespace cachalot::session
