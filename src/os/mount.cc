#include "os/mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/cgroup.h"
#include "os/file.h"
#include "os/overlay_mount.h"

namespace cachalot::os {
namespace {

struct FlagName {
  absl::string_view name;
  unsigned long flag;
  bool set;
};

constexpr std::array<FlagName, 27> kFlags = {{
    {"ro", MS_RDONLY, true},
    {"rw", MS_RDONLY, false},
    {"nosuid", MS_NOSUID, true},
    {"suid", MS_NOSUID, false},
    {"nodev", MS_NODEV, true},
    {"dev", MS_NODEV, false},
    {"noexec", MS_NOEXEC, true},
    {"exec", MS_NOEXEC, false},
    {"sync", MS_SYNCHRONOUS, true},
    {"async", MS_SYNCHRONOUS, false},
    {"dirsync", MS_DIRSYNC, true},
    {"noatime", MS_NOATIME, true},
    {"atime", MS_NOATIME, false},
    {"relatime", MS_RELATIME, true},
    {"norelatime", MS_RELATIME, false},
    {"nodiratime", MS_NODIRATIME, true},
    {"diratime", MS_NODIRATIME, false},
    {"strictatime", MS_STRICTATIME, true},
    {"bind", MS_BIND, true},
    {"rbind", MS_BIND | MS_REC, true},
    {"remount", MS_REMOUNT, true},
    {"defaults", 0, true},
    {"nosymfollow", MS_NOSYMFOLLOW, true},
    {"mand", MS_MANDLOCK, true},
    {"nomand", MS_MANDLOCK, false},
    {"silent", MS_SILENT, true},
    {"lazytime", MS_LAZYTIME, true},
}};

constexpr std::array<FlagName, 8> kPropagations = {{
    {"private", MS_PRIVATE, true},
    {"rprivate", MS_PRIVATE | MS_REC, true},
    {"slave", MS_SLAVE, true},
    {"rslave", MS_SLAVE | MS_REC, true},
    {"shared", MS_SHARED, true},
    {"rshared", MS_SHARED | MS_REC, true},
    {"unbindable", MS_UNBINDABLE, true},
    {"runbindable", MS_UNBINDABLE | MS_REC, true},
}};

MountOptions ParseOptions(const std::vector<std::string>& options) {
  MountOptions parsed;
  for (const std::string& option : options) {
    bool known = false;
    for (const FlagName& flag : kFlags) {
      if (flag.name != option) continue;
      parsed.flags = flag.set ? parsed.flags | flag.flag : parsed.flags & ~flag.flag;
      known = true;
    }
    for (const FlagName& propagation : kPropagations) {
      if (propagation.name != option) continue;
      parsed.propagation = propagation.flag;
      known = true;
    }
    if (!known && !option.empty()) parsed.data.push_back(option);
  }
  return parsed;
}

absl::Status MountBind(const std::string& source, const MountOptions& options, const std::string& target) {
  unsigned long kind = options.flags & (MS_BIND | MS_REC);
  if ((kind & MS_BIND) == 0) kind |= MS_BIND;
  if (::mount(source.c_str(), target.c_str(), "", kind, nullptr) != 0) return ErrnoError(absl::StrCat("bind mount ", source, " on ", target));
  unsigned long rest = options.flags & ~(MS_BIND | MS_REC);
  if (rest == 0) return absl::OkStatus();
  // A bind takes its flags in a second step.
  if (::mount(nullptr, target.c_str(), nullptr, MS_REMOUNT | MS_BIND | rest, nullptr) != 0) {
    absl::Status status = ErrnoError(absl::StrCat("remount ", target));
    ::umount2(target.c_str(), MNT_DETACH);
    return status;
  }
  return absl::OkStatus();
}

// Covers /sys/fs/cgroup with a copy that lacks the unified hierarchy. Only unmounting the latter would leave its mount point, a
// directory on the host's tmpfs, where runtimes then leave a directory for each container.
absl::Status HideUnifiedHierarchy() {
  ASSIGN_OR_RETURN(UniqueFd old, OpenDirectory(kCgroupRoot));
  ASSIGN_OR_RETURN(std::vector<DirectoryEntry> entries, ListDirectory(old.get()));
  if (::mount("cgroup", kCgroupRoot, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=1m") != 0) {
    return ErrnoError(absl::StrCat("mount tmpfs on ", kCgroupRoot));
  }
  for (const DirectoryEntry& entry : entries) {
    std::string path = absl::StrCat(kCgroupRoot, "/", entry.name);
    if (path == kHybridUnifiedPath) continue;
    if (entry.type == DT_LNK) {
      ASSIGN_OR_RETURN(std::string target, ReadLink(old.get(), entry.name));
      if (::symlink(target.c_str(), path.c_str()) != 0) return ErrnoError(absl::StrCat("symlink ", path));
    } else if (entry.type == DT_DIR) {
      if (::mkdir(path.c_str(), 0755) != 0) return ErrnoError(absl::StrCat("mkdir ", path));
      std::string source = absl::StrCat(DescriptorPath(old.get()), "/", entry.name);
      if (::mount(source.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0) return ErrnoError(absl::StrCat("bind mount ", path));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string EscapeOverlayPath(absl::string_view path) {
  std::string escaped;
  for (const char c : path) {
    if (c == ':' || c == ',' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

absl::Status MountAt(const Mount& mount, const std::string& target) {
  MountOptions options = ParseOptions(mount.options);
  if (mount.type == "overlay") {
    RETURN_IF_ERROR(MountOverlay(mount.source, options, target));
  } else if (mount.type == "bind" || (options.flags & MS_BIND) != 0) {
    RETURN_IF_ERROR(MountBind(mount.source, options, target));
  } else {
    std::string data = absl::StrJoin(options.data, ",");
    if (::mount(mount.source.c_str(), target.c_str(), mount.type.c_str(), options.flags, data.c_str()) != 0) {
      return ErrnoError(absl::StrCat("mount ", mount.type, " on ", target));
    }
  }
  if (options.propagation != 0 && ::mount(nullptr, target.c_str(), nullptr, options.propagation, nullptr) != 0) {
    absl::Status status = ErrnoError(absl::StrCat("set the propagation of ", target));
    ::umount2(target.c_str(), MNT_DETACH);
    return status;
  }
  return absl::OkStatus();
}

absl::Status MountMemory(const std::string& target) {
  Mount memory = {"tmpfs", "tmpfs", {"nodev", "nosuid", "mode=0700", "noswap"}};
  if (MountAt(memory, target).ok()) return absl::OkStatus();
  memory.options.pop_back();
  return MountAt(memory, target);
}

absl::Status Unmount(const std::string& target) {
  if (::umount2(target.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return absl::OkStatus();
  if (errno == EINVAL || errno == ENOENT) return absl::OkStatus();  // not a mount point
  return ErrnoError(absl::StrCat("unmount ", target));
}

absl::StatusOr<bool> IsMountPoint(const std::string& target) {
  struct statx status;
  if (::statx(AT_FDCWD, target.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &status) != 0) {
    return ErrnoError(absl::StrCat("stat ", target));
  }
  return (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

absl::Status EnterPrivateMountNamespace() {
  if (::unshare(CLONE_NEWNS) != 0) return ErrnoError("make a mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return ErrnoError("make all mounts slaves of the host's");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr) != 0) return ErrnoError("share all mounts");
  // crun 1.8 runs nothing while a unified hierarchy beside v1 ones carries controllers.
  if (CgroupLayout::Detect().unified_beside_v1()) RETURN_IF_ERROR(HideUnifiedHierarchy());
  return absl::OkStatus();
}

}  // namespace cachalot::os
