// How the trees of a root come about.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::snapshot {

enum class Kind {
  kOverlay,  // "overlayfs": layers that the kernel stacks
  kNative,   // "native": each snapshot is a copy of its parent, changed; works on every file system, takes time and space
};

absl::string_view KindName(Kind kind);
// None for "" and "auto". Other names than theirs are INVALID_ARGUMENT.
absl::StatusOr<std::optional<Kind>> ParseKind(absl::string_view name);

// The kind for the snapshots below `root`, an existing directory: the one that it holds already; in a new one what is `wanted`, or overlayfs
// where it works and copies elsewhere. Notes it in the root. FAILED_PRECONDITION when the root holds another kind than is wanted, or overlayfs
// is wanted and does not work there. Copies that nobody asked for are announced in the log.
absl::StatusOr<Kind> ChooseKind(const std::string& root, std::optional<Kind> wanted);

}  // namespace cachalot::snapshot
