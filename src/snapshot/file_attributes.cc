#include "snapshot/file_attributes.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "snapshot/apply_layer.h"

namespace cachalot::snapshot {

namespace {

// The calls for extended attributes take paths only; the last component is not followed by the l-variants.
std::string PathAt(int dir_fd, const std::string& name) {
  if (dir_fd == AT_FDCWD) return name;
  return name.empty() ? absl::StrCat(os::DescriptorPath(dir_fd), "/.") : absl::StrCat(os::DescriptorPath(dir_fd), "/", name);
}

constexpr std::size_t kMaxXattr = 64 * 1024;  // the kernel's bound of names and of each value

template <typename List, typename Get>
absl::StatusOr<std::map<std::string, std::string>> CollectXattrs(const List& list, const Get& get) {
  std::map<std::string, std::string> xattrs;
  char small[256];
  ssize_t size = list(small, sizeof(small));
  if (size == 0 || (size < 0 && (errno == ENOTSUP || errno == ENODATA))) return xattrs;
  std::string names(small, std::max<ssize_t>(size, 0));
  if (size < 0) {
    names.resize(kMaxXattr);
    size = list(names.data(), names.size());
    if (size < 0) return ErrnoError("list extended attributes");
    names.resize(size);
  }
  std::vector<char> value(kMaxXattr);
  for (std::size_t at = 0; at < names.size();) {
    const std::string key = names.c_str() + at;
    at += key.size() + 1;
    if (IsOverlayXattr(key)) continue;
    const ssize_t n = get(key.c_str(), value.data(), value.size());
    if (n >= 0) xattrs[key].assign(value.data(), n);
  }
  return xattrs;
}

}  // namespace

bool IsOverlayXattr(absl::string_view key) { return absl::StartsWith(key, "trusted.overlay.") || absl::StartsWith(key, "user.overlay."); }

absl::StatusOr<std::map<std::string, std::string>> ReadXattrs(int fd) {
  return CollectXattrs([fd](char* names, std::size_t size) { return ::flistxattr(fd, names, size); },
                       [fd](const char* key, char* value, std::size_t size) { return ::fgetxattr(fd, key, value, size); });
}

absl::StatusOr<std::map<std::string, std::string>> ReadXattrs(int dir_fd, const std::string& name) {
  const std::string path = PathAt(dir_fd, name);
  return CollectXattrs([&](char* names, std::size_t size) { return ::llistxattr(path.c_str(), names, size); },
                       [&](const char* key, char* value, std::size_t size) { return ::lgetxattr(path.c_str(), key, value, size); });
}

absl::Status SetXattr(int dir_fd, const std::string& name, const std::string& key, const std::string& value) {
  if (::lsetxattr(PathAt(dir_fd, name).c_str(), key.c_str(), value.data(), value.size(), 0) == 0) return absl::OkStatus();
  if (errno == ENOTSUP || errno == EPERM) return absl::OkStatus();
  return ErrnoError(absl::StrCat("set xattr ", key, " of ", name));
}

bool IsWhiteout(const struct stat& status) { return S_ISCHR(status.st_mode) && status.st_rdev == makedev(0, 0); }

bool IsOpaque(int dir_fd, const std::string& name) {
  char value = 0;
  return ::lgetxattr(PathAt(dir_fd, name).c_str(), kOpaqueXattr, &value, 1) == 1 && value == 'y';
}

absl::Status MarkOpaque(int dir_fd, const std::string& name) {
  if (::lsetxattr(PathAt(dir_fd, name).c_str(), kOpaqueXattr, "y", 1, 0) != 0) return ErrnoError(absl::StrCat("mark ", name, " opaque"));
  return absl::OkStatus();
}

bool ExistsInAny(const std::vector<std::string>& layers, const std::string& path) {
  return std::any_of(layers.begin(), layers.end(), [&](const std::string& layer) {
    const absl::StatusOr<UniqueFd> root = os::OpenDirectory(layer);
    return root.ok() && os::OpenBeneath(root->get(), path, O_PATH | O_NOFOLLOW).ok();
  });
}

absl::Status CopyDirectoryAttributes(int from, int to) {
  ASSIGN_OR_RETURN(const struct stat status, os::Stat(from));
  ASSIGN_OR_RETURN(const auto xattrs, ReadXattrs(from));
  if (::fchown(to, status.st_uid, status.st_gid) != 0 || ::fchmod(to, status.st_mode & 07777) != 0) return ErrnoError("set owner and mode");
  for (const auto& [key, value] : xattrs) RETURN_IF_ERROR(SetXattr(to, "", key, value));
  const timespec times[2] = {{0, UTIME_OMIT}, status.st_mtim};
  if (::futimens(to, times) != 0) return ErrnoError("set times");
  return absl::OkStatus();
}

}  // namespace cachalot::snapshot
