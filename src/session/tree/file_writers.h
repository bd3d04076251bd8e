// Threads that write the data of received files.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "session/tree/stat.h"

namespace cachalot::session {

// A file to be made at `stat.path()`, where nothing is. One thread at a time touches it.
struct NewFile {
  Stat stat;
  UniqueFd fd;  // once its first data came
  std::int64_t written = 0;
};

// Every file belongs to one thread, so that its data stays in order. A file shows its modification time only once complete:
// one that was left half written never passes for an unchanged one.
class FileWriters {
 public:
  // `root` is a directory that outlives this.
  explicit FileWriters(int root);
  ~FileWriters();

  // Queues data for `file`; `last` when it is complete. Waits while much is queued. The first error of any file, if there was one.
  absl::Status Write(const std::shared_ptr<NewFile>& file, absl::string_view data, bool last);
  // Waits until all that was queued is written.
  absl::Status Finish();

 private:
  struct Piece {
    std::shared_ptr<NewFile> file;
    std::string data;
    bool last;
  };
  struct Shard {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Piece> queue;
    std::size_t queued_bytes = 0;
    bool closed = false;
    bool writer_waits = false;
    absl::Status status;
    std::thread thread;
  };
  struct Parent {  // the directory that the last file was made in
    std::string path;
    UniqueFd fd;
  };

  void Loop(Shard& shard);
  absl::Status Apply(const Piece& piece, Parent& parent);

  const int root_;
  std::vector<std::unique_ptr<Shard>> shards_;
};

// Owner, mode, attributes and times of the open file.
absl::Status SetMetadata(int fd, const Stat& stat);

}  // namespace cachalot::session
