// File attributes as the file tree protocol writes them (Go's os.FileMode bits, nanoseconds).
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fsutil/stat.pb.h"

namespace cachalot::session {

using fsutil::types::Stat;

inline constexpr std::uint32_t kModeDir = 1u << 31;
inline constexpr std::uint32_t kModeSymlink = 1u << 27;
inline constexpr std::uint32_t kModeDevice = 1u << 26;
inline constexpr std::uint32_t kModeNamedPipe = 1u << 25;
inline constexpr std::uint32_t kModeSocket = 1u << 24;
inline constexpr std::uint32_t kModeSetuid = 1u << 23;
inline constexpr std::uint32_t kModeSetgid = 1u << 22;
inline constexpr std::uint32_t kModeCharDevice = 1u << 21;
inline constexpr std::uint32_t kModeSticky = 1u << 20;
inline constexpr std::uint32_t kModeIrregular = 1u << 19;
inline constexpr std::uint32_t kModeType = kModeDir | kModeSymlink | kModeDevice | kModeNamedPipe | kModeSocket | kModeCharDevice | kModeIrregular;

std::uint32_t GoMode(mode_t mode);
// INVALID_ARGUMENT for types that this system cannot make (sockets, irregular files).
absl::StatusOr<mode_t> UnixMode(std::uint32_t go_mode);

inline bool IsDirectory(const Stat& stat) { return (stat.mode() & kModeDir) != 0; }
inline bool IsSymlink(const Stat& stat) { return (stat.mode() & kModeSymlink) != 0; }
// Both ends number the entries and agree by this test on which of them have data to ask for.
inline bool HasData(const Stat& stat) { return (stat.mode() & kModeType) == 0; }

inline std::int64_t ModTimeOf(const struct stat& st) { return std::int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec; }
timespec TimespecOf(std::int64_t nanoseconds);

// The mark of a regular file as it is now (Stat.change): of which file it is and when it last changed in any way. A file that changed just now
// has a mark that no later look gives again, for the clock of files ticks slowly.
std::uint64_t ChangeMark(const struct stat& st);
// Where the receiver keeps a file's mark: its time of access, that nobody reads. It comes and goes with the file.
timespec KeptMark(std::uint64_t mark);

using Xattrs = google::protobuf::Map<std::string, std::string>;
// The extended attributes of `name` in `directory` itself; none where they are not supported.
Xattrs ReadXattrs(int directory, const std::string& name);
// Whether an attribute is taken from a client: those that a file's meaning needs, none that would steer overlayfs or a
// security module of this host.
bool IsAcceptedXattr(absl::string_view name);
// Compares the attributes that read back exactly as they were set.
bool SameXattrs(const Xattrs& a, const Xattrs& b);

}  // namespace cachalot::session
