#include "store/durability.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/detached.h"
#include "os/file.h"

namespace cachalot::store {

namespace {

constexpr std::int64_t kBeforeNumbers = 1;

// <root>/synced: two numbers in sectors of their own, each with a check. The lower one is overwritten, so that a write which is lost in
// part loses nothing. Only system calls: a process that has left everything behind uses this, too.
class SyncedFile {
 public:
  explicit SyncedFile(int fd) : fd_(fd) {}

  // Waits for whoever holds it; the lock goes with the descriptor.
  bool Lock() const {
    int locked = 0;
    do {
      locked = ::flock(fd_, LOCK_EX);
    } while (locked != 0 && errno == EINTR);
    return locked == 0;
  }

  std::int64_t Number() const { return std::max(ReadSlot(0), ReadSlot(1)); }

  // With the lock held. False, with errno, when it cannot be written.
  bool Raise(std::int64_t number) const {
    const std::int64_t first = ReadSlot(0), second = ReadSlot(1);
    if (number <= std::max(first, second)) return true;
    const std::array<std::uint64_t, 2> slot = {static_cast<std::uint64_t>(number), Check(static_cast<std::uint64_t>(number))};
    return ::pwrite(fd_, slot.data(), sizeof slot, (first <= second ? 0 : 1) * kSector) == sizeof slot && ::fdatasync(fd_) == 0;
  }

 private:
  static constexpr off_t kSector = 4096;

  // Any two numbers differ in about half of its bits.
  static std::uint64_t Check(std::uint64_t number) {
    number = (number + 0x9e3779b97f4a7c15U) * 0xbf58476d1ce4e5b9U;
    number = (number ^ (number >> 27U)) * 0x94d049bb133111ebU;
    return number ^ (number >> 31U);
  }

  std::int64_t ReadSlot(int index) const {
    std::array<std::uint64_t, 2> slot;
    if (::pread(fd_, slot.data(), sizeof slot, index * kSector) != sizeof slot || slot[1] != Check(slot[0])) return 0;
    return static_cast<std::int64_t>(slot[0]);
  }

  const int fd_;
};

constexpr char kFile[] = "synced";

std::string PathOf(const std::string& root) { return absl::StrCat(root, "/", kFile); }

absl::StatusOr<UniqueFd> OpenSynced(const std::string& root) { return os::Open(PathOf(root), O_RDWR | O_CREAT, 0600); }

absl::StatusOr<std::int64_t> LastNumber(Connection& connection) {
  ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT value FROM meta WHERE key = 'sync'"));
  ASSIGN_OR_RETURN(const bool found, query.Step());
  std::int64_t number = kBeforeNumbers;
  if (found && !absl::SimpleAtoi(query.Text(0), &number)) return absl::DataLossError("database: the number of the last sync is none");
  return number;
}

}  // namespace

absl::StatusOr<std::int64_t> NumberVolatile(Database& database, const std::string& root, Moment moment) {
  ASSIGN_OR_RETURN(const std::int64_t synced, LastSync(root, false));
  // An idle process does not write.
  bool idle = false;
  RETURN_IF_ERROR(database.Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(const std::int64_t last, LastNumber(connection));
    ASSIGN_OR_RETURN(
        Statement query,
        connection.Prepare("SELECT EXISTS (SELECT 1 FROM blobs WHERE durable = 0) OR EXISTS (SELECT 1 FROM snapshots WHERE durable = 0)"));
    RETURN_IF_ERROR(query.Step().status());
    idle = last <= synced && query.Int(0) == 0;
    return absl::OkStatus();
  }));
  std::int64_t number = 0;
  if (idle) return number;
  RETURN_IF_ERROR(database.WriteSetAside([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(const std::int64_t last, LastNumber(connection));
    number = std::max(last, synced) + 1;
    RETURN_IF_ERROR(connection.Run("UPDATE blobs SET durable = ?1 WHERE durable = 0", number));
    bool any = connection.changes() > 0;
    RETURN_IF_ERROR(connection.Run("UPDATE snapshots SET durable = ?1 WHERE durable = 0 AND (state <> 0 OR (?2 AND record_type <> 'source.local'))",
                                   number, moment == Moment::kStop));
    any |= connection.changes() > 0;
    if (any) return connection.Run("INSERT OR REPLACE INTO meta VALUES ('sync', ?1)", absl::StrCat(number));
    number = last > synced ? last : 0;
    return absl::OkStatus();
  }));
  return number;
}

absl::Status SyncNow(const std::string& root, std::int64_t number) {
  ASSIGN_OR_RETURN(const UniqueFd directory, os::OpenDirectory(root));
  ASSIGN_OR_RETURN(const UniqueFd file, OpenSynced(root));
  if (::syncfs(directory.get()) != 0) return ErrnoError(absl::StrCat("sync ", root));
  const SyncedFile synced(file.get());
  if (!synced.Lock() || !synced.Raise(number)) return ErrnoError(absl::StrCat("write ", PathOf(root)));
  return absl::OkStatus();
}

absl::Status SyncLater(const std::string& root, std::int64_t number) {
  RETURN_IF_ERROR(OpenSynced(root).status());  // it is there now: the other process makes no files, for the root may be about to be removed
  return os::RunDetached("cachalot: writing the cache to disk", root, [number](int directory) {
    const SyncedFile synced(::openat(directory, kFile, O_RDWR | O_CLOEXEC));
    // Locked from the start: LastSync may want to wait.
    if (synced.Lock() && ::syncfs(directory) == 0) synced.Raise(number);
  });
}

absl::Status MarkDurable(Database& database, const std::string& root) {
  ASSIGN_OR_RETURN(const std::int64_t number, NumberVolatile(database, root, Moment::kRunning));
  return number == 0 ? absl::OkStatus() : SyncNow(root, number);
}

absl::StatusOr<std::int64_t> LastSync(const std::string& root, bool wait) {
  ASSIGN_OR_RETURN(const UniqueFd file, OpenSynced(root));
  const SyncedFile synced(file.get());
  if (wait && !synced.Lock()) return ErrnoError(absl::StrCat("lock ", PathOf(root)));
  return std::max(synced.Number(), kBeforeNumbers);
}

}  // namespace cachalot::store
