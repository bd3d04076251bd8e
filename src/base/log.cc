#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace cachalot {

namespace {

std::atomic<LogLevel> minimum{LogLevel::kInfo};

const char* LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return "debug";
    case LogLevel::kInfo: return "info";
    case LogLevel::kWarning: return "warning";
    case LogLevel::kError: return "error";
  }
  return "";
}

}  // namespace

void SetLogLevel(LogLevel level) { minimum = level; }
bool LogEnabled(LogLevel level) { return level >= minimum.load(std::memory_order_relaxed); }

void LogLine(LogLevel level, absl::string_view message) {
  if (!LogEnabled(level)) {
    return;
  }
  const std::string line =
      absl::StrCat(absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone()), " ", LevelName(level), " ", message, "\n");
  // One write per line: lines of several threads do not mix. A full or closed stderr loses the line, nothing else.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace cachalot
