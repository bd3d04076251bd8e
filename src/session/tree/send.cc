#include "session/tree/send.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/guarded.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "base/worker_pool.h"
#include "fsutil/wire.pb.h"
#include "os/quiet_open.h"
#include "session/tree/path_order.h"
#include "tree/resolve.h"

namespace cachalot::session {
namespace {

using fsutil::types::Packet;

constexpr std::size_t kChunk = 128 << 10;  // receivers refuse messages above 4 MiB
constexpr std::size_t kStatBatch = 16 << 10;
constexpr int kFileThreads = 2;
constexpr auto kProgressInterval = std::chrono::milliseconds(100);

class Sender {
 public:
  Sender(RpcStream& stream, std::vector<TreeSource> sources, const std::function<void(std::int64_t)>& on_progress)
      : stream_(stream), sources_(std::move(sources)), on_progress_(on_progress) {}

  absl::Status Run() {
    std::sort(sources_.begin(), sources_.end(), [](const auto& a, const auto& b) { return a.subdirectory < b.subdirectory; });
    for (const TreeSource& source : sources_) {
      ASSIGN_OR_RETURN(UniqueFd root, os::OpenDirectory(source.directory));
      roots_.push_back(std::move(root));
    }
    absl::Status walked;
    std::thread walker = NewThread([&] {
      walked = Walk();
      if (!walked.ok()) {
        SendError(walked);
      }
    });
    absl::Status served;
    {
      WorkerPool pool("session-send", kFileThreads);
      served = Serve(pool);
      if (!served.ok()) {
        failed_.Lock()->Update(served);  // the walk and the files stop
      }
    }
    walker.join();
    Report(0, /*last=*/true);
    RETURN_IF_ERROR(walked);
    absl::Status failure = *failed_.Lock();
    return failure;
  }

 private:
  struct File {
    std::size_t source;
    std::string path;    // within the source
    bool extra = false;  // one of its extra files
  };

  absl::Status Walk() {
    for (std::size_t i = 0; i < sources_.size(); ++i) {
      RETURN_IF_ERROR(WalkSource(i));
    }
    Packet end;
    end.set_type(Packet::PACKET_STAT);
    AppendMessage(end.SerializeAsString(), stats_);
    return FlushStats();
  }

  absl::Status WalkSource(std::size_t index) {
    const TreeSource& source = sources_[index];
    if (!source.subdirectory.empty()) {
      Stat directory;
      directory.set_path(source.subdirectory);
      directory.set_mode(kModeDir | 0755);
      directory.set_modtime(source.modification_time.value_or(0));
      RETURN_IF_ERROR(SendStat(directory, {}));
    }
    ASSIGN_OR_RETURN(const TreeFilter filter, TreeFilter::Create(source.patterns, roots_[index].get()));
    auto extra = source.extra_files.begin();
    const auto send_extras_before = [&](absl::string_view path) {
      for (; extra != source.extra_files.end() && (path.empty() || absl::string_view(extra->first) < path); ++extra) {
        RETURN_IF_ERROR(SendExtra(index, extra->first, extra->second));
      }
      return absl::OkStatus();
    };
    const auto visit = [&](Stat& stat) {
      const std::string first_level = stat.path().substr(0, stat.path().find('/'));
      RETURN_IF_ERROR(send_extras_before(first_level));
      if (source.extra_files.count(first_level) > 0) {
        return absl::OkStatus();  // replaced; sent in its turn
      }
      return SendEntry(index, stat);
    };
    RETURN_IF_ERROR(WalkTree(roots_[index].get(), filter, visit));
    return send_extras_before("");
  }

  absl::Status SendExtra(std::size_t index, const std::string& name, const std::string& content) {
    Stat stat;
    stat.set_path(name);
    stat.set_mode(0600);
    stat.set_size(static_cast<std::int64_t>(content.size()));
    stat.set_modtime(sources_[index].modification_time.value_or(started_));
    Place(sources_[index], stat);
    return SendStat(stat, {index, name, /*extra=*/true});
  }

  absl::Status SendEntry(std::size_t index, Stat& stat) {
    const TreeSource& source = sources_[index];
    File file{index, stat.path()};
    if (!source.marks_changes) {
      stat.clear_change();
    }
    if (source.anonymous) {
      stat.set_uid(0);
      stat.set_gid(0);
    }
    if (source.modification_time.has_value()) {
      stat.set_modtime(*source.modification_time);
    }
    Place(source, stat);
    return SendStat(stat, std::move(file));
  }

  // Moves an entry, and what it names, under the source's subdirectory.
  static void Place(const TreeSource& source, Stat& stat) {
    if (source.subdirectory.empty()) {
      return;
    }
    stat.set_path(absl::StrCat(source.subdirectory, "/", stat.path()));
    if (IsSymlink(stat) ? absl::StartsWith(stat.linkname(), "/") : !stat.linkname().empty()) {
      stat.set_linkname(JoinPath(absl::StrCat(IsSymlink(stat) ? "/" : "", source.subdirectory), stat.linkname()));
    }
  }

  absl::Status SendStat(Stat& stat, File file) {
    if (HasData(stat)) {
      (*files_.Lock())[entries_] = std::move(file);
    }
    ++entries_;
    Packet packet;
    packet.set_type(Packet::PACKET_STAT);
    packet.mutable_stat()->Swap(&stat);
    AppendMessage(packet.SerializeAsString(), stats_);
    return stats_.size() < kStatBatch ? absl::OkStatus() : FlushStats();
  }

  absl::Status FlushStats() {
    RETURN_IF_ERROR(*failed_.Lock());
    Report(static_cast<std::int64_t>(stats_.size()), /*last=*/false);
    const std::lock_guard<std::mutex> lock(writing_);
    const absl::Status status = stream_.WriteBatch(stats_);
    stats_.clear();
    return status;
  }

  absl::Status Serve(WorkerPool& pool) {
    Packet packet;
    for (;;) {
      ASSIGN_OR_RETURN(const auto bytes, stream_.Read());
      RETURN_IF_ERROR(*failed_.Lock());
      if (!bytes.has_value()) {
        return absl::CancelledError("the receiver left before the file transfer was complete");
      }
      if (!packet.ParseFromArray(bytes->data(), static_cast<int>(bytes->size()))) {
        return absl::InvalidArgumentError("malformed packet in the file transfer");
      }
      if (packet.type() == Packet::PACKET_ERR) {
        return absl::UnknownError(absl::StrCat("error from receiver: ", packet.data()));
      }
      if (packet.type() == Packet::PACKET_FIN) {
        Packet fin;
        fin.set_type(Packet::PACKET_FIN);
        return Send(fin);
      }
      if (packet.type() == Packet::PACKET_REQ) {
        RETURN_IF_ERROR(Request(packet.id(), pool));
      }
    }
  }

  absl::Status Request(std::uint32_t id, WorkerPool& pool) {
    auto files = files_.Lock();
    const auto found = files->find(id);
    if (found == files->end()) {
      return absl::InvalidArgumentError(absl::StrCat("invalid file id ", id));
    }
    pool.Run([this, id, file = std::move(found->second)] {
      const absl::Status status = failed_.Lock()->ok() ? SendFile(id, file) : absl::OkStatus();
      if (!status.ok()) {
        failed_.Lock()->Update(status);
        SendError(status);
      }
    });
    files->erase(found);
    return absl::OkStatus();
  }

  absl::Status SendFile(std::uint32_t id, const File& file) {
    Packet packet;
    packet.set_type(Packet::PACKET_DATA);
    packet.set_id(id);
    if (file.extra) {
      const absl::string_view content = sources_[file.source].extra_files.at(file.path);
      for (std::size_t offset = 0; offset < content.size(); offset += kChunk) {
        const absl::string_view chunk = content.substr(offset, kChunk);
        packet.set_data(chunk.data(), chunk.size());
        RETURN_IF_ERROR(Send(packet));
      }
    } else {
      ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(file));
      struct stat st {};
      if (fd.valid() && fstat(fd.get(), &st) == 0 && S_ISREG(st.st_mode)) {
        RETURN_IF_ERROR(SendContent(fd.get(), st.st_size, packet, file.path));
      }
    }
    packet.clear_data();
    return Send(packet);
  }

  // An invalid one for a file that has vanished or turned into something else: it is sent empty, and the next transfer sees it as it is then.
  absl::StatusOr<UniqueFd> OpenFile(const File& file) {
    const absl::string_view parent = ParentOf(file.path);
    ASSIGN_OR_RETURN(const UniqueFd directory, tree::TryOpenDirectory(roots_[file.source].get(), parent.empty() ? "." : parent));
    if (!directory.valid()) return UniqueFd();
    constexpr int kFlags = O_NOFOLLOW | O_NONBLOCK;
    const std::string name(NameOf(file.path));
    // The times of access of the daemon's own trees are not for readers.
    UniqueFd fd = sources_[file.source].marks_changes ? UniqueFd(openat(directory.get(), name.c_str(), O_RDONLY | O_CLOEXEC | kFlags))
                                                      : os::OpenQuietly(directory.get(), name, kFlags);
    if (fd.valid() || errno == ENOENT || errno == ELOOP || errno == ENXIO) return fd;
    if (errno == EAGAIN) return tree::OpenRegularFile(directory.get(), name, file.path);  // waits for whoever holds a lease
    return ErrnoError(absl::StrCat("open ", file.path));
  }

  absl::Status SendContent(int fd, std::int64_t expected, Packet& packet, const std::string& path) {
    std::string buffer(static_cast<std::size_t>(std::clamp<std::int64_t>(expected, 4096, kChunk)), '\0');
    for (;;) {
      const ssize_t size = read(fd, buffer.data(), buffer.size());
      if (size < 0 && errno == EINTR) {
        continue;
      }
      if (size < 0) {
        return ErrnoError(absl::StrCat("read ", path));
      }
      if (size == 0) {
        return absl::OkStatus();
      }
      packet.set_data(buffer.data(), static_cast<std::size_t>(size));
      RETURN_IF_ERROR(Send(packet));
    }
  }

  absl::Status Send(const Packet& packet) {
    const std::string bytes = packet.SerializeAsString();
    Report(static_cast<std::int64_t>(bytes.size()), /*last=*/false);
    // Several threads write here, a stream takes one at a time.
    const std::lock_guard<std::mutex> lock(writing_);
    return stream_.Write(bytes);
  }

  void SendError(const absl::Status& status) {
    Packet packet;
    packet.set_type(Packet::PACKET_ERR);
    packet.set_data(std::string(status.message()));
    Send(packet).IgnoreError();  // the call may be over already
  }

  void Report(std::int64_t bytes, bool last) {
    if (!on_progress_) {
      return;
    }
    auto progress = progress_.Lock();
    progress->bytes += bytes;
    const auto now = std::chrono::steady_clock::now();
    if (last || now - progress->reported >= kProgressInterval) {
      progress->reported = now;
      on_progress_(progress->bytes);
    }
  }

  struct Progress {
    std::int64_t bytes = 0;
    std::chrono::steady_clock::time_point reported;
  };

  RpcStream& stream_;
  std::vector<TreeSource> sources_;
  const std::function<void(std::int64_t)>& on_progress_;
  const std::int64_t started_ = absl::ToUnixSeconds(absl::Now()) * 1'000'000'000;
  std::vector<UniqueFd> roots_;
  // Of the walking thread: entries so far, and those of them that are not yet written.
  std::uint32_t entries_ = 0;
  std::string stats_;
  Guarded<absl::flat_hash_map<std::uint32_t, File>> files_;
  Guarded<absl::Status> failed_{absl::OkStatus()};
  Guarded<Progress> progress_;
  std::mutex writing_;
};

}  // namespace

absl::Status SendTrees(RpcStream& stream, std::vector<TreeSource> sources, const std::function<void(std::int64_t)>& on_progress) {
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const std::string& name = sources[i].subdirectory;
    if (name.find('/') != std::string::npos || name == ".." || name == ".") {
      return absl::InvalidArgumentError(absl::StrCat("invalid path ", name, " for a tree"));
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (sources[j].subdirectory == name || name.empty() || sources[j].subdirectory.empty()) {
        return absl::InvalidArgumentError(absl::StrCat("trees need subdirectories of their own, not \"", name, "\""));
      }
    }
  }
  return Sender(stream, std::move(sources), on_progress).Run();
}

}  // namespace cachalot::session
