// The metadata database: one SQLite file in WAL mode. One writer at a time, readers beside it that never wait.
//
// Commits write to the page cache only: a killed process loses nothing. A crash of the machine loses the latest commits, never an
// earlier one before a later one; what that means for the files that rows speak of is told in durability.h. On a full disk only that is
// written which needs to be (see WriteSetAside).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/guarded.h"
#include "store/log_room.h"

struct sqlite3;
struct sqlite3_stmt;

namespace cachalot::store {

// Bytes bound as a BLOB.
struct Bytes {
  absl::string_view bytes;
};

// A prepared statement in use; it goes back to its connection's cache on destruction.
class Statement {
 public:
  Statement(sqlite3* database, sqlite3_stmt* statement) : database_(database), statement_(statement) {}
  Statement(Statement&& other) noexcept : database_(other.database_), statement_(std::exchange(other.statement_, nullptr)) {}
  ~Statement();

  // Binds the parameters ?1, ?2, ... in order: integers, text, Bytes, nullptr.
  template <typename... Args>
  void Bind(const Args&... args) {
    int index = 0;
    (BindOne(++index, args), ...);
  }
  // Moves to the next row; false when there is none (or the statement yields none).
  absl::StatusOr<bool> Step();

  std::int64_t Int(int column) const;
  std::string Text(int column) const;  // of BLOBs too
  bool IsNull(int column) const;

 private:
  template <typename Integer>
  std::enable_if_t<std::is_integral_v<Integer>> BindOne(int index, Integer value) {
    BindInt(index, static_cast<std::int64_t>(value));
  }
  void BindInt(int index, std::int64_t value);
  void BindOne(int index, absl::string_view text);
  void BindOne(int index, const std::string& text) { BindOne(index, absl::string_view(text)); }
  void BindOne(int index, const char* text) { BindOne(index, absl::string_view(text)); }
  void BindOne(int index, const Bytes& bytes);
  void BindOne(int index, std::nullptr_t);

  sqlite3* database_;
  sqlite3_stmt* statement_;
};

// One connection, used by one thread at a time, inside Database::Write or Read.
class Connection {
 public:
  Connection() = default;
  ~Connection();
  Connection(const Connection&) = delete;

  // `sql` is a literal: it is the key of the statement cache. A statement can be in use once at a time.
  absl::StatusOr<Statement> Prepare(const char* sql);
  // Runs a statement to its end.
  template <typename... Args>
  absl::Status Run(const char* sql, const Args&... args) {
    absl::StatusOr<Statement> statement = Prepare(sql);
    if (!statement.ok()) return statement.status();
    statement->Bind(args...);
    while (true) {
      absl::StatusOr<bool> row = statement->Step();
      if (!row.ok()) return row.status();
      if (!*row) return absl::OkStatus();
    }
  }
  // Rows that the last INSERT, UPDATE or DELETE changed.
  std::int64_t changes() const;

 private:
  friend class Database;
  absl::Status Open(const std::string& path);
  // The bytes of the log that the last commit reached; 0 before the first.
  std::int64_t log_bytes() const { return log_bytes_; }
  void ReleaseMemory();
  // Several statements without parameters.
  absl::Status RunScript(const std::string& sql);

  sqlite3* database_ = nullptr;
  std::int64_t log_bytes_ = 0;
  absl::flat_hash_map<const char*, sqlite3_stmt*> statements_;
};

// Thread-safe.
class Database {
 public:
  // Opens or creates the file and brings it to the latest of `migrations`: scripts, of which the first `user_version` are done.
  // A file from a later version is a FAILED_PRECONDITION, a broken one DATA_LOSS. One that a process has found broken while it used it is
  // searched for damage.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path, const std::vector<std::string>& migrations);
  ~Database();

  // Runs `work` in a transaction: committed when it returns OK, else rolled back. Not reentrant. RESOURCE_EXHAUSTED when the disk is full.
  absl::Status Write(const std::function<absl::Status(Connection&)>& work);
  // The same for work that frees space or keeps order: it may use the room that is set aside for it, and works on a full disk too.
  absl::Status WriteSetAside(const std::function<absl::Status(Connection&)>& work);
  // Runs `work` on a consistent view of what was committed before.
  absl::Status Read(const std::function<absl::Status(Connection&)>& work);
  // Whether the disk had no room left to set aside when something was written last.
  bool short_of_room() const { return short_of_room_; }
  // What was committed before is on disk when this returns.
  absl::Status Sync();
  // Gives up cached pages and spare readers.
  void ReleaseMemory();
  // How long ago the last write was. Who wants to sync the file system waits for a pause: builds would feel it.
  std::chrono::steady_clock::duration IdleTime() const;

 private:
  explicit Database(const std::string& path) : path_(path), room_(path + "-wal") {}
  static absl::StatusOr<std::unique_ptr<Database>> TryOpen(const std::string& path, const std::vector<std::string>& migrations);
  absl::Status EnsureRoom();                                                    // with the writer's lock held
  absl::Status Transact(const std::function<absl::Status(Connection&)>& work);  // with the writer's lock held
  absl::Status Migrate(const std::vector<std::string>& migrations);
  void NoteDamage(const absl::Status& status) const;
  absl::Status CheckWhenSuspected();
  void CheckpointLoop();

  const std::string path_;
  std::mutex writer_mutex_;
  LogRoom room_;
  std::atomic<bool> short_of_room_ = false;
  Connection writer_;
  std::atomic<std::int64_t> writes_ = 0;
  std::atomic<std::chrono::steady_clock::time_point> last_write_ = std::chrono::steady_clock::now();
  Guarded<std::vector<std::unique_ptr<Connection>>> idle_readers_;
  Guarded<bool> stopping_;
  std::thread checkpointer_;
};

// Moves a database that nobody has open, with its log, from `path` to `aside`.
absl::Status SetAside(const std::string& path, const std::string& aside);

}  // namespace cachalot::store
