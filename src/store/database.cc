#include "store/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "os/file.h"

namespace cachalot::store {

namespace {

constexpr std::size_t kMaxIdleReaders = 4;
constexpr std::chrono::seconds kCheckpointPeriod(5);
constexpr std::chrono::seconds kPause(3);
constexpr off_t kLongLog = 4 << 20;
constexpr std::int64_t kMaxWrites = 3000;  // that may wait for a pause; bounds the log's size
constexpr int kBusyTimeoutMs = 10000;
constexpr std::int64_t kFrameBytes = 24 + 4096;  // of the log: a header and a page

absl::Status DatabaseError(sqlite3* database, absl::string_view what) {
  const int code = sqlite3_errcode(database);
  const std::string text = absl::StrCat("database: ", what, ": ", sqlite3_errmsg(database));
  if (code == SQLITE_FULL || code == SQLITE_IOERR || code == SQLITE_CANTOPEN) {
    // SQLite tells a full disk in some of its calls only.
    if (const int error = sqlite3_system_errno(database); error != 0) {
      return ErrnoError(absl::StrCat(sqlite3_db_filename(database, "main"), ": ", what), error);
    }
  }
  switch (code) {
    case SQLITE_FULL: return absl::ResourceExhaustedError(text);
    case SQLITE_BUSY: return absl::UnavailableError(text);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return absl::DataLossError(text);
    default: return absl::InternalError(text);
  }
}

// The file that tells a later process to look at the database more closely.
std::string SuspicionPath(const std::string& path) { return absl::StrCat(path, ".suspect"); }

}  // namespace

Statement::~Statement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

absl::StatusOr<bool> Statement::Step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return DatabaseError(database_, sqlite3_sql(statement_));
}

std::int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Statement::Text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return std::string(static_cast<const char*>(bytes), size);
}

bool Statement::IsNull(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

void Statement::BindInt(int index, std::int64_t value) { sqlite3_bind_int64(statement_, index, value); }
void Statement::BindOne(int index, absl::string_view text) {
  sqlite3_bind_text(statement_, index, text.empty() ? "" : text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
}
void Statement::BindOne(int index, const Bytes& bytes) {
  sqlite3_bind_blob64(statement_, index, bytes.bytes.empty() ? "" : bytes.bytes.data(), bytes.bytes.size(), SQLITE_TRANSIENT);
}
void Statement::BindOne(int index, std::nullptr_t) { sqlite3_bind_null(statement_, index); }

Connection::~Connection() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(database_);
}

absl::Status Connection::Open(const std::string& path) {
  // Each connection is used by one thread at a time: SQLite's own mutexes are not needed.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  if (sqlite3_open_v2(path.c_str(), &database_, flags, nullptr) != SQLITE_OK) return DatabaseError(database_, absl::StrCat("open ", path));
  sqlite3_busy_timeout(database_, kBusyTimeoutMs);
  sqlite3_db_config(database_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);  // the log is as good as the file, and needs no sync
  RETURN_IF_ERROR(
      RunScript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0; PRAGMA foreign_keys=ON; PRAGMA cache_size=-256;"
                "PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=67108864"));  // a log that was longer once is cut
  const auto on_commit = [](void* self, sqlite3*, const char*, int frames) {
    static_cast<Connection*>(self)->log_bytes_ = frames * kFrameBytes;
    return SQLITE_OK;
  };
  sqlite3_wal_hook(database_, on_commit, this);
  return absl::OkStatus();
}

absl::Status Connection::RunScript(const std::string& sql) {
  if (sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return DatabaseError(database_, sql);
  return absl::OkStatus();
}

absl::StatusOr<Statement> Connection::Prepare(const char* sql) {
  sqlite3_stmt*& cached = statements_[sql];
  if (cached == nullptr && sqlite3_prepare_v3(database_, sql, -1, SQLITE_PREPARE_PERSISTENT, &cached, nullptr) != SQLITE_OK) {
    return DatabaseError(database_, sql);
  }
  return Statement(database_, cached);
}

void Connection::ReleaseMemory() { sqlite3_db_release_memory(database_); }

std::int64_t Connection::changes() const { return sqlite3_changes64(database_); }

absl::StatusOr<std::unique_ptr<Database>> Database::TryOpen(const std::string& path, const std::vector<std::string>& migrations) {
  std::unique_ptr<Database> database(new Database(path));
  // SQLite would let everybody read it; the files beside it get the mode of this one.
  RETURN_IF_ERROR(os::Open(path, O_RDWR | O_CREAT, 0600).status());
  RETURN_IF_ERROR(database->writer_.Open(path));
  RETURN_IF_ERROR(database->CheckWhenSuspected());
  RETURN_IF_ERROR(database->Migrate(migrations));
  return database;
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path, const std::vector<std::string>& migrations) {
  absl::StatusOr<std::unique_ptr<Database>> database = TryOpen(path, migrations);
  if (absl::IsResourceExhausted(database.status())) {
    LogRoom::GiveBack(absl::StrCat(path, "-wal"));
    database = TryOpen(path, migrations);
  }
  RETURN_IF_ERROR(database.status());
  (*database)->checkpointer_ = NewThread([self = database->get()] { self->CheckpointLoop(); });
  return database;
}

Database::~Database() {
  *stopping_.Lock() = true;
  stopping_.NotifyAll();
  if (checkpointer_.joinable()) checkpointer_.join();
}

absl::Status Database::Migrate(const std::vector<std::string>& migrations) {
  std::int64_t version = 0;
  {
    ASSIGN_OR_RETURN(Statement query, writer_.Prepare("PRAGMA user_version"));
    RETURN_IF_ERROR(query.Step().status());
    version = query.Int(0);
  }
  const std::int64_t latest = static_cast<std::int64_t>(migrations.size());
  if (version > latest) {
    return absl::FailedPreconditionError(absl::StrCat(path_, " has format ", version, ", this program knows up to ", latest));
  }
  for (; version < latest; ++version) {
    const absl::Status status =
        writer_.RunScript(absl::StrCat("BEGIN IMMEDIATE;", migrations[version], ";PRAGMA user_version=", version + 1, ";COMMIT"));
    if (!status.ok()) {
      (void)writer_.RunScript("ROLLBACK");
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status Database::EnsureRoom() {
  const absl::Status status = room_.Ensure(writer_.log_bytes());
  short_of_room_ = absl::IsResourceExhausted(status);
  return status;
}

absl::Status Database::Transact(const std::function<absl::Status(Connection&)>& work) {
  RETURN_IF_ERROR(writer_.Run("BEGIN IMMEDIATE"));
  absl::Status status = work(writer_);
  if (status.ok()) status = writer_.Run("COMMIT");
  if (!status.ok()) (void)writer_.Run("ROLLBACK");
  NoteDamage(status);
  ++writes_;
  last_write_ = std::chrono::steady_clock::now();
  return status;
}

absl::Status Database::Write(const std::function<absl::Status(Connection&)>& work) {
  std::lock_guard lock(writer_mutex_);
  RETURN_IF_ERROR(EnsureRoom());
  return Transact(work);
}

absl::Status Database::WriteSetAside(const std::function<absl::Status(Connection&)>& work) {
  std::lock_guard lock(writer_mutex_);
  const absl::Status room = EnsureRoom();
  absl::Status status = Transact(work);
  if (room.ok() || !absl::IsResourceExhausted(status)) return status;
  // A log that has come into the database is written anew from its beginning.
  RETURN_IF_ERROR(writer_.RunScript("PRAGMA wal_checkpoint(RESTART)"));
  return Transact(work);
}

absl::Status Database::Read(const std::function<absl::Status(Connection&)>& work) {
  std::unique_ptr<Connection> reader;
  if (auto idle = idle_readers_.Lock(); !idle->empty()) {
    reader = std::move(idle->back());
    idle->pop_back();
  }
  if (reader == nullptr) {
    reader = std::make_unique<Connection>();
    RETURN_IF_ERROR(reader->Open(path_));
  }
  RETURN_IF_ERROR(reader->Run("BEGIN"));
  const absl::Status status = work(*reader);
  NoteDamage(status);
  RETURN_IF_ERROR(reader->Run("COMMIT"));
  if (auto idle = idle_readers_.Lock(); idle->size() < kMaxIdleReaders) idle->push_back(std::move(reader));
  return status;
}

void Database::NoteDamage(const absl::Status& status) const {
  if (!absl::IsDataLoss(status)) return;
  const auto note = os::Open(SuspicionPath(path_), O_WRONLY | O_CREAT, 0600);
  LogError(path_, note.ok() ? " is checked when it is opened next: " : " is broken: ", status.message());
}

absl::Status Database::CheckWhenSuspected() {
  const std::string note = SuspicionPath(path_);
  if (::access(note.c_str(), F_OK) != 0) return absl::OkStatus();
  {
    ASSIGN_OR_RETURN(Statement query, writer_.Prepare("PRAGMA quick_check(1)"));
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row || query.Text(0) != "ok") return absl::DataLossError(absl::StrCat("database: ", row ? query.Text(0) : "it cannot be checked"));
  }
  if (::unlink(note.c_str()) != 0) return ErrnoError(absl::StrCat("unlink ", note));
  return absl::OkStatus();
}

absl::Status SetAside(const std::string& path, const std::string& aside) {
  for (const char* part : {"", "-wal", "-shm"}) {
    const std::string from = absl::StrCat(path, part), to = absl::StrCat(aside, part);
    if (::rename(from.c_str(), to.c_str()) != 0 && errno != ENOENT) return ErrnoError(absl::StrCat("rename ", from, " to ", to));
  }
  if (const std::string note = SuspicionPath(path); ::unlink(note.c_str()) != 0 && errno != ENOENT) return ErrnoError(absl::StrCat("unlink ", note));
  // A new database must not meet the old one's log.
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  ASSIGN_OR_RETURN(const UniqueFd fd, os::OpenDirectory(directory));
  if (::fsync(fd.get()) != 0) return ErrnoError(absl::StrCat("sync ", directory));
  return absl::OkStatus();
}

absl::Status Database::Sync() {
  // What is not in the log any more was synced when it was moved to the main file.
  const std::string log = absl::StrCat(path_, "-wal");
  ASSIGN_OR_RETURN(const UniqueFd fd, os::Open(log, O_RDONLY));
  if (::fdatasync(fd.get()) != 0) return ErrnoError(absl::StrCat("sync ", log));
  return absl::OkStatus();
}

void Database::ReleaseMemory() {
  idle_readers_.Lock()->clear();
  std::lock_guard lock(writer_mutex_);
  writer_.ReleaseMemory();
}

std::chrono::steady_clock::duration Database::IdleTime() const { return std::chrono::steady_clock::now() - last_write_.load(); }

// Moves the log into the main file when nobody writes: a checkpoint syncs, and that makes everyone wait who creates files.
void Database::CheckpointLoop() {
  Connection connection;
  if (const absl::Status status = connection.Open(path_); !status.ok()) {
    LogError(status.message());
    return;
  }
  const auto checkpoint = [&] {
    if (absl::Status status = connection.RunScript("PRAGMA wal_checkpoint(PASSIVE)"); !status.ok()) LogWarning(status.message());
  };
  // Processes that live shortly never get to a pause and leave a log that grows.
  struct stat log;
  if (::stat(absl::StrCat(path_, "-wal").c_str(), &log) == 0 && log.st_size > kLongLog) checkpoint();
  std::int64_t done = 0;
  auto stopping = stopping_.Lock();
  while (!stopping.WaitUntil(std::chrono::steady_clock::now() + kCheckpointPeriod, [](bool stop) { return stop; })) {
    const std::int64_t now = writes_;
    if (now == done || (IdleTime() < kPause && now - done < kMaxWrites)) continue;
    done = now;
    checkpoint();
  }
}

}  // namespace cachalot::store
