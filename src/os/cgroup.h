// Control groups, whatever layout the host has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cachalot::os {

inline constexpr char kCgroupRoot[] = "/sys/fs/cgroup";
inline constexpr char kHybridUnifiedPath[] = "/sys/fs/cgroup/unified";

// How control groups are mounted, read from /proc/self/mountinfo.
class CgroupLayout {
 public:
  enum class Kind { kNone, kV1, kHybrid, kV2 };

  // What this process sees now.
  static CgroupLayout Detect();
  // The same from the text of a mountinfo file; `unified_controllers` is the content of the unified hierarchy's cgroup.controllers.
  static CgroupLayout Parse(absl::string_view mountinfo, absl::string_view unified_controllers);

  Kind kind() const { return kind_; }
  // A hybrid layout whose unified part carries controllers: crun 1.8 refuses it.
  bool unified_beside_v1() const { return kind_ == Kind::kHybrid && unified_has_controllers_; }
  // The mount point of a v1 controller, or of the unified hierarchy on a v2 host; empty when there is none.
  std::string ControllerPath(absl::string_view controller) const;
  // Every hierarchy's mount point.
  const std::vector<std::string>& roots() const { return roots_; }

 private:
  Kind kind_ = Kind::kNone;
  bool unified_has_controllers_ = false;
  std::string unified_;
  std::vector<std::pair<std::string, std::string>> controllers_;  // name, mount point
  std::vector<std::string> roots_;
};

struct CgroupUsage {
  std::int64_t cpu_user_us = 0, cpu_system_us = 0, memory_peak_bytes = 0, io_read_bytes = 0, io_write_bytes = 0;
};

// One control group, named by its path from the root of each hierarchy ("/buildkit/<id>"). Nothing is cached: the group may come and go.
class Cgroup {
 public:
  Cgroup(CgroupLayout layout, std::string path) : layout_(std::move(layout)), path_(std::move(path)) {}

  // What it has used so far; nothing when it does not exist.
  std::optional<CgroupUsage> Usage() const;
  // The processes in it and in the groups below.
  std::vector<int> Processes() const;
  // SIGKILLs all of them, also those that fork meanwhile. Returns when none was left or a second has passed (DEADLINE_EXCEEDED).
  absl::Status Kill() const;
  // Removes the group and those below from every hierarchy, where empty.
  void Remove() const;

 private:
  std::vector<std::string> Directories() const;

  CgroupLayout layout_;
  std::string path_;
};

}  // namespace cachalot::os
