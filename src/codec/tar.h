// Tar archives as streams: reads ustar, PAX and GNU (long names, base-256 numbers, sparse files), writes ustar with PAX records
// where ustar does not suffice, as Go's archive/tar does.
#pragma once

#include <cstdint>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "codec/stream.h"

namespace cachalot::codec {

enum class TarType { kFile, kHardLink, kSymlink, kCharDevice, kBlockDevice, kDirectory, kFifo };

struct TarEntry {
  std::string path;  // as the archive has it; writing adds a directory's trailing slash
  std::string link;  // target of a symlink or hard link
  TarType type = TarType::kFile;
  std::uint32_t mode = 0;  // permission bits with set-id and sticky, 07777 at most
  std::uint32_t uid = 0, gid = 0;
  std::string user, group;
  std::int64_t size = 0;  // of a file's data, holes included
  timespec mtime{};
  std::uint32_t device_major = 0, device_minor = 0;
  std::map<std::string, std::string> xattrs;
  // Other PAX records, such as "MSWINDOWS.rawsd"; read and written as they are.
  std::map<std::string, std::string> pax;
};

// Reads an archive in one pass. Headers are bounded to 1 MiB. Malformed archives are DATA_LOSS errors.
class TarReader {
 public:
  // `from` outlives the reader, which may read ahead of the archive's end.
  explicit TarReader(Source* from);

  // Moves to the next entry, skipping what is left of the current one; false at the end.
  absl::StatusOr<bool> Next(TarEntry* entry);
  // The current file's data in order, holes as zeros; 0 at its end.
  absl::StatusOr<std::size_t> Read(char* buffer, std::size_t size);
  // The same without the holes: `offset` receives the place of the bytes in the file.
  absl::StatusOr<std::size_t> ReadData(char* buffer, std::size_t size, std::int64_t* offset);
  // Reads to the end of the source (past the archive's end), for its digest's sake.
  absl::Status Drain();

 private:
  struct Segment {
    std::int64_t offset, size;  // in the file
  };
  struct Pending;

  absl::StatusOr<std::size_t> Take(char* buffer, std::size_t size);
  absl::Status TakeAll(char* buffer, std::size_t size);
  absl::Status Skip(std::int64_t size);
  absl::StatusOr<bool> ReadHeader(char* block);
  absl::StatusOr<std::string> ReadSpecial(std::int64_t size, absl::string_view what);
  absl::Status ParseEntry(const char* block, Pending& pending, TarEntry* entry);
  absl::Status PlanData(const char* block, char type, Pending& pending, TarEntry* entry);
  absl::Status ReadOldSparse(const char* block, TarEntry* entry);
  absl::Status ReadSparseOne(TarEntry* entry);
  absl::Status CheckSegments(const TarEntry& entry) const;

  Source* from_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;
  std::int64_t stored_left_ = 0;  // bytes of the entry that are still in the archive
  std::int64_t padding_ = 0;      // that follow them
  std::vector<Segment> segments_;
  std::size_t segment_ = 0;
  std::int64_t position_ = 0;  // in the file
  std::int64_t size_ = 0;      // of the file
};

// Writes an archive in one pass.
class TarWriter {
 public:
  // `to` outlives the writer.
  explicit TarWriter(Sink* to);

  // Begins an entry; a file's `size` bytes must follow through Write.
  absl::Status Add(const TarEntry& entry);
  absl::Status Write(absl::string_view bytes);
  // Ends the archive. Nothing may follow.
  absl::Status Finish();

 private:
  absl::Status EndEntry();
  absl::Status Append(absl::string_view bytes);
  absl::Status Flush();

  Sink* to_;
  std::string buffer_;
  std::int64_t left_ = 0;
  std::int64_t padding_ = 0;
};

}  // namespace cachalot::codec
