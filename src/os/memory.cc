#include "os/memory.h"

#include <malloc.h>
#include <sys/mman.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "os/file.h"

namespace cachalot::os {
namespace {

constexpr std::size_t kMaxMaps = 16 << 20;
constexpr int kMaxHeaps = 2;
constexpr int kMaxFreeEnd = 1 << 20;

struct Mapping {
  std::uintptr_t begin = 0, end = 0;
  bool untouchable = true;  // not a file's, or writable, or not known
};

// A mapping by its first line: "begin-end perms offset device inode path", proc(5). Nothing for the other lines, of which some begin
// like a number.
std::optional<Mapping> ParseHeader(const std::string& line) {
  Mapping mapping;
  char permissions[5] = "";
  int path = 0;
  if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %n", &mapping.begin, &mapping.end, permissions, &path) != 3) {
    return std::nullopt;
  }
  mapping.untouchable = permissions[1] != '-' || path == 0 || line[path] != '/';
  return mapping;
}

}  // namespace

absl::Status ReleaseFilePages() {
  ASSIGN_OR_RETURN(const std::string maps, ReadFile("/proc/self/smaps", kMaxMaps));
  Mapping mapping;
  for (absl::string_view text : absl::StrSplit(maps, '\n')) {
    const std::string line(text);
    if (const std::optional<Mapping> next = ParseHeader(line)) mapping = *next;
    if (!absl::StartsWith(line, "Anonymous:")) continue;
    // Pages with relocations are this process's own: they would come back without them.
    std::uint64_t anonymous_kb = 1;
    if (mapping.untouchable || std::sscanf(line.c_str(), "Anonymous: %" SCNu64, &anonymous_kb) != 1 || anonymous_kb != 0) continue;
    ::madvise(reinterpret_cast<void*>(mapping.begin), mapping.end - mapping.begin, MADV_DONTNEED);
  }
  return absl::OkStatus();
}

void LimitHeaps() {
  ::mallopt(M_ARENA_MAX, kMaxHeaps);
  ::mallopt(M_TRIM_THRESHOLD, kMaxFreeEnd);
  ::mallopt(M_MMAP_THRESHOLD, kMaxFreeEnd);  // or it and the other would grow by themselves
}

void TrimHeap() { ::malloc_trim(0); }

}  // namespace cachalot::os
