#include "os/overlay_mount.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "os/file.h"

// <sys/mount.h> and <linux/mount.h> do not go together; mount(2) is all that is needed of the former.
extern "C" int mount(const char* source, const char* target, const char* type, unsigned long flags, const void* data) noexcept;

namespace cachalot::os {
namespace {

constexpr std::size_t kMaxData = 4000;   // mount(2) copies one page
constexpr std::size_t kMaxString = 255;  // fsconfig(2) copies this much of a value

// The overlay's own options, taken apart. Paths are unescaped.
struct Overlay {
  std::vector<std::string> lower;
  std::string upper, work;
  std::vector<std::string> other;
};

std::vector<std::string> SplitEscaped(absl::string_view list) {
  std::vector<std::string> parts(1);
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i] == '\\' && i + 1 < list.size())
      parts.back() += list[++i];
    else if (list[i] == ':')
      parts.emplace_back();
    else
      parts.back() += list[i];
  }
  return parts;
}

std::string Unescape(absl::string_view path) {
  std::string result;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '\\' && i + 1 < path.size()) ++i;
    result += path[i];
  }
  return result;
}

Overlay TakeApart(const std::vector<std::string>& data) {
  Overlay overlay;
  for (absl::string_view option : data) {
    if (absl::StartsWith(option, "lowerdir="))
      overlay.lower = SplitEscaped(option.substr(9));
    else if (absl::StartsWith(option, "upperdir="))
      overlay.upper = Unescape(option.substr(9));
    else if (absl::StartsWith(option, "workdir="))
      overlay.work = Unescape(option.substr(8));
    else
      overlay.other.emplace_back(option);
  }
  return overlay;
}

absl::Status CheckLayers(const Overlay& overlay) {
  std::vector<std::string> directories = overlay.lower;
  if (!overlay.upper.empty()) directories.push_back(overlay.upper);
  if (!overlay.work.empty()) directories.push_back(overlay.work);
  for (const std::string& path : directories) {
    ASSIGN_OR_RETURN(UniqueFd fd, Open(path, O_PATH | O_DIRECTORY));
  }
  return absl::OkStatus();
}

// ---- The new mount API: one fsconfig(2) per layer, no bound on the whole.

int FsConfig(int context, unsigned command, const char* key, const char* value) {
  return static_cast<int>(::syscall(SYS_fsconfig, context, command, key, value, 0));
}

absl::Status ContextError(int context, absl::string_view what) {
  int error = errno;
  std::string reasons;
  char line[512];
  ssize_t n;
  while ((n = ::read(context, line, sizeof line)) > 0) {
    while (n > 0 && line[n - 1] == '\n') --n;
    absl::StrAppend(&reasons, reasons.empty() ? " (" : "; ", absl::string_view(line, static_cast<std::size_t>(n)));
  }
  return ErrnoError(absl::StrCat("mount overlay: ", what, reasons, reasons.empty() ? "" : ")"), error);
}

unsigned AttributesOf(unsigned long flags) {
  constexpr unsigned long kRdOnly = 1, kNoSuid = 2, kNoDev = 4, kNoExec = 8, kNoAtime = 1024;
  unsigned attributes = 0;
  if ((flags & kRdOnly) != 0) attributes |= MOUNT_ATTR_RDONLY;
  if ((flags & kNoSuid) != 0) attributes |= MOUNT_ATTR_NOSUID;
  if ((flags & kNoDev) != 0) attributes |= MOUNT_ATTR_NODEV;
  if ((flags & kNoExec) != 0) attributes |= MOUNT_ATTR_NOEXEC;
  if ((flags & kNoAtime) != 0) attributes |= MOUNT_ATTR_NOATIME;
  return attributes;
}

class OverlayContext {
 public:
  explicit OverlayContext(UniqueFd context) : context_(std::move(context)) {}

  // False with errno when the kernel refuses the key: it is too old for it.
  bool SetPath(const char* key, const std::string& path) {
    if (path.size() <= kMaxString) return FsConfig(context_.get(), FSCONFIG_SET_STRING, key, path.c_str()) == 0;
    absl::StatusOr<UniqueFd> fd = Open(path, O_PATH | O_DIRECTORY);
    if (!fd.ok()) return errno = ENOENT, false;
    return FsConfig(context_.get(), FSCONFIG_SET_STRING, key, DescriptorPath(fd->get()).c_str()) == 0;
  }

  absl::Status SetOther(const std::string& option) {
    std::size_t equals = option.find('=');
    std::string key = option.substr(0, equals);
    int result = equals == std::string::npos ? FsConfig(context_.get(), FSCONFIG_SET_FLAG, key.c_str(), nullptr)
                                             : FsConfig(context_.get(), FSCONFIG_SET_STRING, key.c_str(), option.c_str() + equals + 1);
    return result == 0 ? absl::OkStatus() : ContextError(context_.get(), option);
  }

  absl::Status Finish(unsigned long flags, const std::string& target) {
    if ((flags & 1) != 0) FsConfig(context_.get(), FSCONFIG_SET_FLAG, "ro", nullptr);
    if (FsConfig(context_.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr) != 0) return ContextError(context_.get(), target);
    UniqueFd mount(static_cast<int>(::syscall(SYS_fsmount, context_.get(), FSMOUNT_CLOEXEC, AttributesOf(flags))));
    if (!mount.valid()) return ContextError(context_.get(), target);
    if (::syscall(SYS_move_mount, mount.get(), "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
      return ErrnoError(absl::StrCat("mount overlay on ", target));
    }
    return absl::OkStatus();
  }

  int get() const { return context_.get(); }

 private:
  UniqueFd context_;
};

// Nothing when the kernel has no fsopen(2), or no "lowerdir+" (before 6.7).
std::optional<absl::Status> MountByContext(const std::string& source, const Overlay& overlay, unsigned long flags, const std::string& target) {
  static std::atomic<bool> missing = false;
  if (missing.load()) return std::nullopt;
  OverlayContext context(UniqueFd(static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC))));
  if (context.get() < 0) {
    missing = errno == ENOSYS;
    return std::nullopt;
  }
  FsConfig(context.get(), FSCONFIG_SET_STRING, "source", source.empty() ? "overlay" : source.c_str());
  bool first = true;
  for (const std::string& layer : overlay.lower) {
    if (!context.SetPath("lowerdir+", layer)) {
      absl::Status status = ContextError(context.get(), layer);
      if (!first || !CheckLayers(overlay).ok()) return status;
      missing = true;
      return std::nullopt;
    }
    first = false;
  }
  if (!overlay.upper.empty() && !context.SetPath("upperdir", overlay.upper)) return ContextError(context.get(), overlay.upper);
  if (!overlay.work.empty() && !context.SetPath("workdir", overlay.work)) return ContextError(context.get(), overlay.work);
  for (const std::string& option : overlay.other) {
    if (absl::Status status = context.SetOther(option); !status.ok()) return status;
  }
  return context.Finish(flags, target);
}

// ---- mount(2): everything within one page.

std::string Data(const Overlay& overlay, const std::vector<std::string>& lower, const std::string& upper, const std::string& work) {
  std::vector<std::string> data = {absl::StrCat("lowerdir=", absl::StrJoin(lower, ":"))};
  if (!upper.empty()) data.push_back(absl::StrCat("upperdir=", upper));
  if (!work.empty()) data.push_back(absl::StrCat("workdir=", work));
  data.insert(data.end(), overlay.other.begin(), overlay.other.end());
  return absl::StrJoin(data, ",");
}

absl::Status MountData(const std::string& source, const std::string& data, unsigned long flags, const std::string& target) {
  if (::mount(source.empty() ? "overlay" : source.c_str(), target.c_str(), "overlay", flags, data.c_str()) == 0) return absl::OkStatus();
  return ErrnoError(absl::StrCat("mount overlay on ", target));
}

// The layers' names are made short: a thread whose working directory is this process's list of descriptors can name each layer
// by a number.
absl::Status MountByNumbers(const std::string& source, const Overlay& overlay, unsigned long flags, const std::string& target) {
  std::vector<UniqueFd> open;
  std::vector<std::string> lower;
  auto add = [&](const std::string& path) -> absl::StatusOr<std::string> {
    if (path.empty()) return std::string();
    ASSIGN_OR_RETURN(UniqueFd fd, Open(path, O_PATH | O_DIRECTORY));
    open.push_back(std::move(fd));
    return absl::StrCat(open.back().get());
  };
  for (const std::string& path : overlay.lower) {
    ASSIGN_OR_RETURN(std::string name, add(path));
    lower.push_back(std::move(name));
  }
  ASSIGN_OR_RETURN(std::string upper, add(overlay.upper));
  ASSIGN_OR_RETURN(std::string work, add(overlay.work));
  ASSIGN_OR_RETURN(UniqueFd target_fd, Open(target, O_PATH));
  std::string data = Data(overlay, lower, upper, work);
  absl::Status status;
  NewThread([&] {
    if (::unshare(CLONE_FS) != 0 || ::chdir("/proc/self/fd") != 0) {
      status = ErrnoError("enter /proc/self/fd");
      return;
    }
    status = MountData(source, data, flags, DescriptorPath(target_fd.get()));
  }).join();
  return Annotate(status, target);
}

bool NeedsNumbers(const Overlay& overlay, const std::string& data) {
  if (data.size() > kMaxData) return true;
  std::string paths = absl::StrCat(absl::StrJoin(overlay.lower, ""), overlay.upper, overlay.work);
  return paths.find_first_of(":,\\") != std::string::npos;
}

}  // namespace

absl::Status MountOverlay(const std::string& source, const MountOptions& options, const std::string& target, OverlayMethod method) {
  Overlay overlay = TakeApart(options.data);
  if (overlay.lower.empty()) return absl::InvalidArgumentError(absl::StrCat("mount overlay on ", target, ": no lowerdir"));
  if (method == OverlayMethod::kBest) {
    if (std::optional<absl::Status> status = MountByContext(source, overlay, options.flags, target); status.has_value()) return *status;
  }
  RETURN_IF_ERROR(CheckLayers(overlay));
  std::string data = Data(overlay, overlay.lower, overlay.upper, overlay.work);
  if (!NeedsNumbers(overlay, data)) return MountData(source, data, options.flags, target);
  return MountByNumbers(source, overlay, options.flags, target);
}

}  // namespace cachalot::os
