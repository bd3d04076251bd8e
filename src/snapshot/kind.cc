#include "snapshot/kind.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/log.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "os/mount.h"
#include "snapshot/file_attributes.h"

namespace cachalot::snapshot {

namespace {

constexpr std::size_t kMaxName = 64;

// Deletes through an overlay and looks whether its upper layer says so.
absl::Status TryDeletions(const std::string& directory) {
  const std::string merged = absl::StrCat(directory, "/merged"), upper = absl::StrCat(directory, "/upper");
  if (::unlink(absl::StrCat(merged, "/file").c_str()) != 0) return ErrnoError("delete a file of a lower layer");
  if (::rmdir(absl::StrCat(merged, "/sub").c_str()) != 0 || ::mkdir(absl::StrCat(merged, "/sub").c_str(), 0755) != 0) {
    return ErrnoError("replace a directory of a lower layer");
  }
  struct stat status;
  if (::lstat(absl::StrCat(upper, "/file").c_str(), &status) != 0 || !IsWhiteout(status) || !IsOpaque(AT_FDCWD, absl::StrCat(upper, "/sub"))) {
    return absl::FailedPreconditionError("deletions leave no mark in the upper layer");
  }
  return absl::OkStatus();
}

// Whether layers below `root` can be stacked.
absl::Status TryOverlay(const std::string& root) {
  const std::string directory = absl::StrCat(root, "/overlay-trial");
  RETURN_IF_ERROR(os::RemoveTree(directory));
  for (const char* name : {"/lower/sub", "/upper", "/work", "/merged"}) RETURN_IF_ERROR(os::MakeDirectories(absl::StrCat(directory, name), 0700));
  RETURN_IF_ERROR(os::WriteFileAtomic(absl::StrCat(directory, "/lower/file"), ""));
  const os::Mount mount{
      "overlay",
      "overlay",
      {"index=off", "redirect_dir=off", "metacopy=off", absl::StrCat("lowerdir=", os::EscapeOverlayPath(absl::StrCat(directory, "/lower"))),
       absl::StrCat("upperdir=", os::EscapeOverlayPath(absl::StrCat(directory, "/upper"))),
       absl::StrCat("workdir=", os::EscapeOverlayPath(absl::StrCat(directory, "/work")))}};
  const std::string merged = absl::StrCat(directory, "/merged");
  absl::Status status = os::MountAt(mount, merged);
  if (status.ok()) {
    status = TryDeletions(directory);
    RETURN_IF_ERROR(os::Unmount(merged));
  }
  const absl::Status removed = os::RemoveTree(directory);
  return status.ok() ? removed : status;
}

// What the root says of itself; none in a new one.
absl::StatusOr<std::optional<Kind>> KindOf(const std::string& root, const std::string& note) {
  const absl::StatusOr<std::string> text = os::ReadFile(note, kMaxName);
  if (text.ok()) {
    absl::StatusOr<std::optional<Kind>> kind = ParseKind(absl::StripAsciiWhitespace(*text));
    if (!kind.ok()) return Annotate(kind.status(), note);
    if (kind->has_value()) return kind;
  } else if (!absl::IsNotFound(text.status())) {
    return text.status();
  }
  // Roots without a note are older than copies are.
  if (::access(absl::StrCat(root, "/snapshots").c_str(), F_OK) == 0) return Kind::kOverlay;
  return std::nullopt;
}

}  // namespace

absl::string_view KindName(Kind kind) { return kind == Kind::kNative ? "native" : "overlayfs"; }

absl::StatusOr<std::optional<Kind>> ParseKind(absl::string_view name) {
  if (name.empty() || name == "auto") return std::nullopt;
  for (const Kind kind : {Kind::kOverlay, Kind::kNative}) {
    if (name == KindName(kind)) return kind;
  }
  return absl::InvalidArgumentError(absl::StrCat("snapshotter ", name, " isn't supported: overlayfs, native and auto are"));
}

absl::StatusOr<Kind> ChooseKind(const std::string& root, std::optional<Kind> wanted) {
  const std::string note = absl::StrCat(root, "/snapshotter");
  ASSIGN_OR_RETURN(const std::optional<Kind> present, KindOf(root, note));
  if (present.has_value()) {
    if (wanted.has_value() && wanted != present) {
      return absl::FailedPreconditionError(absl::StrCat(root, " holds snapshots of ", KindName(*present), ", not of ", KindName(*wanted),
                                                        ": name another root for them, or remove this one"));
    }
    if (!wanted.has_value() && present == Kind::kNative)
      LogWarning("snapshots below ", root, " are whole copies (native), which takes time and space");
    return *present;
  }
  Kind kind = wanted.value_or(Kind::kOverlay);
  if (kind == Kind::kOverlay) {
    const absl::Status works = TryOverlay(root);
    if (!works.ok() && wanted.has_value()) {
      return absl::FailedPreconditionError(absl::StrCat("overlayfs does not work below ", root, ": ", works.message()));
    }
    if (!works.ok()) {
      LogWarning("overlayfs does not work below ", root, ": ", works.message(),
                 "; snapshots are whole copies (native), which takes time and space: put the root on another file system, such as a volume");
      kind = Kind::kNative;
    }
  }
  // Synced: a snapshot that outlives a loss of power must not be taken for one of the other kind.
  RETURN_IF_ERROR(os::WriteFileAtomic(note, absl::StrCat(KindName(kind), "\n"), 0600, os::Durability::kSynced));
  return kind;
}

}  // namespace cachalot::snapshot
