#include "os/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "os/file.h"

namespace cachalot::os {
namespace {

constexpr std::size_t kMaxControlFile = 1 << 20;
constexpr std::size_t kMaxMountInfo = 64 << 20;
constexpr std::chrono::milliseconds kKillTime(1000);

// A control file's text; empty when it cannot be read.
std::string ReadControl(const std::string& path) { return ReadFile(path, kMaxControlFile).value_or(""); }

void WriteControl(const std::string& path, absl::string_view value) {
  absl::StatusOr<UniqueFd> fd = Open(path, O_WRONLY);
  if (fd.ok()) (void)WriteAll(fd->get(), value, path);
}

std::int64_t Number(absl::string_view text) {
  std::int64_t value = 0;
  (void)absl::SimpleAtoi(text.substr(0, text.find('\n')), &value);
  return value;
}

// The value behind `key` in a file of "key value" lines.
std::int64_t FlatKey(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, key) && line.size() > key.size() && line[key.size()] == ' ') return Number(line.substr(key.size() + 1));
  }
  return 0;
}

// The sum of "key=value" over all devices of io.stat.
std::int64_t SumIoStat(absl::string_view text, absl::string_view key) {
  std::int64_t sum = 0;
  for (absl::string_view word : absl::StrSplit(text, absl::ByAnyChar(" \n"))) {
    if (absl::StartsWith(word, key) && word.size() > key.size() && word[key.size()] == '=') sum += Number(word.substr(key.size() + 1));
  }
  return sum;
}

// The sum of one operation ("Read") over all devices of blkio.throttle.io_service_bytes.
std::int64_t SumBlkio(absl::string_view text, absl::string_view operation) {
  std::int64_t sum = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words.size() == 3 && words[1] == operation) sum += Number(words[2]);
  }
  return sum;
}

CgroupUsage UsageV2(const std::string& directory) {
  CgroupUsage usage;
  std::string cpu = ReadControl(directory + "/cpu.stat");
  usage.cpu_user_us = FlatKey(cpu, "user_usec");
  usage.cpu_system_us = FlatKey(cpu, "system_usec");
  usage.memory_peak_bytes = Number(ReadControl(directory + "/memory.peak"));
  std::string io = ReadControl(directory + "/io.stat");
  usage.io_read_bytes = SumIoStat(io, "rbytes");
  usage.io_write_bytes = SumIoStat(io, "wbytes");
  return usage;
}

void Walk(const std::string& directory, const std::function<void(const std::string&)>& visit) {
  absl::StatusOr<std::vector<DirectoryEntry>> entries = ListDirectory(directory);
  if (!entries.ok()) return;
  for (const DirectoryEntry& entry : *entries) {
    if (entry.type == DT_DIR) Walk(directory + "/" + entry.name, visit);
  }
  visit(directory);
}

bool IsDirectory(const std::string& path) {
  absl::StatusOr<struct stat> st = Lstat(path);
  return st.ok() && S_ISDIR(st->st_mode);
}

}  // namespace

CgroupLayout CgroupLayout::Parse(absl::string_view mountinfo, absl::string_view unified_controllers) {
  CgroupLayout layout;
  bool v1 = false;
  for (absl::string_view line : absl::StrSplit(mountinfo, '\n')) {
    // 36 35 98:0 /root /mount/point options... - type source super-options
    std::vector<absl::string_view> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    if (halves.size() != 2) continue;
    std::vector<absl::string_view> left = absl::StrSplit(halves[0], ' '), right = absl::StrSplit(halves[1], ' ');
    if (left.size() < 6 || right.size() < 3) continue;
    std::string point(left[4]);
    if (right[0] == "cgroup2") {
      if (!layout.unified_.empty()) continue;
      layout.unified_ = point;
    } else if (right[0] == "cgroup") {
      v1 = true;
      for (absl::string_view name : absl::StrSplit(right[2], ',')) layout.controllers_.emplace_back(std::string(name), point);
    } else {
      continue;
    }
    if (std::find(layout.roots_.begin(), layout.roots_.end(), point) == layout.roots_.end()) layout.roots_.push_back(point);
  }
  layout.unified_has_controllers_ = unified_controllers.find_first_not_of(" \n") != absl::string_view::npos;
  if (v1)
    layout.kind_ = layout.unified_.empty() ? Kind::kV1 : Kind::kHybrid;
  else if (!layout.unified_.empty())
    layout.kind_ = Kind::kV2;
  return layout;
}

CgroupLayout CgroupLayout::Detect() {
  std::string mountinfo = ReadFile("/proc/thread-self/mountinfo", kMaxMountInfo).value_or("");
  return Parse(mountinfo, ReadControl(absl::StrCat(kHybridUnifiedPath, "/cgroup.controllers")));
}

std::string CgroupLayout::ControllerPath(absl::string_view controller) const {
  for (const auto& [name, point] : controllers_) {
    if (name == controller) return point;
  }
  return kind_ == Kind::kV2 ? unified_ : std::string();
}

std::vector<std::string> Cgroup::Directories() const {
  std::vector<std::string> directories;
  for (const std::string& root : layout_.roots()) {
    std::string directory = root + path_;
    if (IsDirectory(directory)) directories.push_back(std::move(directory));
  }
  return directories;
}

std::optional<CgroupUsage> Cgroup::Usage() const {
  auto directory = [&](absl::string_view controller) { return layout_.ControllerPath(controller) + path_; };
  if (layout_.kind() == CgroupLayout::Kind::kNone) return std::nullopt;
  if (layout_.kind() == CgroupLayout::Kind::kV2) {
    std::string unified = directory("memory");
    if (!IsDirectory(unified)) return std::nullopt;
    return UsageV2(unified);
  }
  if (!IsDirectory(directory("cpuacct")) && !IsDirectory(directory("memory"))) return std::nullopt;
  CgroupUsage usage;
  usage.cpu_user_us = Number(ReadControl(directory("cpuacct") + "/cpuacct.usage_user")) / 1000;
  usage.cpu_system_us = Number(ReadControl(directory("cpuacct") + "/cpuacct.usage_sys")) / 1000;
  usage.memory_peak_bytes = Number(ReadControl(directory("memory") + "/memory.max_usage_in_bytes"));
  std::string io = ReadControl(directory("blkio") + "/blkio.throttle.io_service_bytes");
  usage.io_read_bytes = SumBlkio(io, "Read");
  usage.io_write_bytes = SumBlkio(io, "Write");
  return usage;
}

std::vector<int> Cgroup::Processes() const {
  std::vector<int> pids;
  for (const std::string& directory : Directories()) {
    Walk(directory, [&](const std::string& group) {
      std::string text = ReadControl(group + "/cgroup.procs");
      for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
        int pid = static_cast<int>(Number(line));
        // 0: a process that is outside of our PID namespace.
        if (pid > 0) pids.push_back(pid);
      }
    });
  }
  std::sort(pids.begin(), pids.end());
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  return pids;
}

absl::Status Cgroup::Kill() const {
  auto deadline = std::chrono::steady_clock::now() + kKillTime;
  while (true) {
    for (const std::string& directory : Directories()) WriteControl(directory + "/cgroup.kill", "1");
    std::vector<int> pids = Processes();
    if (pids.empty()) return absl::OkStatus();
    for (int pid : pids) {
      if (pid != ::getpid()) ::kill(pid, SIGKILL);
    }
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat("processes of the control group ", path_, " survive being killed, e.g. ", pids.front()));
    }
    // No event tells of an emptied v1 group; killed processes are gone within microseconds.
    ::poll(nullptr, 0, 1);
  }
}

void Cgroup::Remove() const {
  for (const std::string& directory : Directories()) {
    Walk(directory, [](const std::string& group) { ::rmdir(group.c_str()); });
  }
}

}  // namespace cachalot::os
