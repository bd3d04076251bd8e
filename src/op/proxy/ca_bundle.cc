#include "op/proxy/ca_bundle.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/source_tree.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

constexpr const char* kBundles[] = {"/etc/ssl/certs/ca-certificates.crt",
                                    "/etc/pki/tls/certs/ca-bundle.crt",
                                    "/etc/ssl/ca-bundle.pem",
                                    "/etc/pki/tls/cacert.pem",
                                    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
                                    "/etc/ssl/cert.pem"};
constexpr std::size_t kMaxBundle = 10 << 20;

struct Bundle {
  std::string path;  // without links
  std::string text;
  struct stat status;
};

absl::StatusOr<Bundle> ReadBundle(const std::string& rootfs, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<SourceTree> tree, SourceTree::Over({rootfs}));
  Bundle bundle;
  ASSIGN_OR_RETURN(bundle.path, tree->Resolve(path, true));
  ASSIGN_OR_RETURN(bundle.status, tree->Lstat(bundle.path));
  if (!S_ISREG(bundle.status.st_mode)) return absl::NotFoundError(absl::StrCat(path, " is not a regular file"));
  ASSIGN_OR_RETURN(const UniqueFd fd, tree->OpenFile(bundle.path));
  ASSIGN_OR_RETURN(bundle.text, os::ReadAll(fd.get(), kMaxBundle, path));
  return bundle;
}

// Puts `text` in the place of the file, with its owner, mode and, if asked, times.
absl::Status Replace(const std::string& rootfs, const Bundle& bundle, absl::string_view text, const struct timespec* times) {
  ASSIGN_OR_RETURN(const UniqueFd root, os::OpenDirectory(rootfs));
  ASSIGN_OR_RETURN(const UniqueFd directory, os::OpenInRoot(root.get(), DirName(bundle.path), O_RDONLY | O_DIRECTORY));
  const std::string name = BaseName(bundle.path), temporary = absl::StrCat(".ca-", RandomId());
  struct stat parent;
  if (::fstat(directory.get(), &parent) != 0) return ErrnoError(DirName(bundle.path));
  const UniqueFd fd(::openat(directory.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoError(absl::StrCat("open a file beside ", bundle.path));
  absl::Status status = os::WriteAll(fd.get(), text, bundle.path);
  if (status.ok() && (::fchown(fd.get(), bundle.status.st_uid, bundle.status.st_gid) != 0 || ::fchmod(fd.get(), bundle.status.st_mode & 07777) != 0 ||
                      (times != nullptr && ::futimens(fd.get(), times) != 0) ||
                      ::renameat(directory.get(), temporary.c_str(), directory.get(), name.c_str()) != 0)) {
    status = ErrnoError(absl::StrCat("replace ", bundle.path));
  }
  if (!status.ok()) ::unlinkat(directory.get(), temporary.c_str(), 0);
  const struct timespec kept[2] = {parent.st_atim, parent.st_mtim};
  ::futimens(directory.get(), kept);
  return status;
}

}  // namespace

absl::StatusOr<AddedCertificate> AddedCertificate::Add(const std::string& rootfs, const std::string& pem) {
  AddedCertificate added;
  for (const char* path : kBundles) {
    const absl::StatusOr<Bundle> bundle = ReadBundle(rootfs, path);
    if (!bundle.ok()) continue;
    added.rootfs_ = rootfs;
    added.path_ = bundle->path;
    added.status_ = bundle->status;
    added.before_ = bundle->text;
    added.block_ = absl::StrCat(bundle->text.empty() || absl::EndsWith(bundle->text, "\n") ? "" : "\n", "\n# buildkit proxy CA begin\n", pem,
                                "# buildkit proxy CA end\n");
    RETURN_IF_ERROR(Replace(rootfs, *bundle, absl::StrCat(bundle->text, added.block_), nullptr));
    return added;
  }
  return added;
}

absl::Status AddedCertificate::Remove() {
  if (path_.empty()) return absl::OkStatus();
  const std::string path = std::exchange(path_, "");
  const absl::StatusOr<Bundle> bundle = ReadBundle(rootfs_, path);
  if (absl::IsNotFound(bundle.status())) return absl::OkStatus();
  RETURN_IF_ERROR(bundle.status());
  std::string text = bundle->text;
  const std::size_t at = text.find(block_);
  if (at == std::string::npos) return absl::OkStatus();
  text.erase(at, block_.size());
  const struct timespec times[2] = {status_.st_atim, status_.st_mtim};
  return Replace(rootfs_, *bundle, text, text == before_ ? times : nullptr);
}

}  // namespace cachalot::op
