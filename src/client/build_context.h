// Where a build's files come from: a directory, a URL, stdin.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/attach/attachables.h"
#include "client/build_options.h"
#include "client/temporary_directory.h"

namespace cachalot::client {

// The context of one build, as the session and the frontend's options want it.
struct BuildContext {
  std::map<std::string, std::string> directories;  // offered over the session
  std::map<std::string, std::string> layouts;      // image layouts that are offered: what the daemon calls one -> its directory
  std::map<std::string, std::string> attrs;        // of the frontend
  std::string shared_key;
  UploadReader upload;  // not empty: its URL becomes the attribute "context"
  std::vector<TemporaryDirectory> temporary;
};

// Looks at the paths, and at the beginning of stdin for "-". `stdin_fd` is read from then on when the context is an archive.
absl::StatusOr<BuildContext> OpenContext(const BuildOptions& options, int stdin_fd);

// Whether the daemon fetches this context itself: a git repository, or a URL of an archive or Dockerfile.
bool IsRemoteContext(absl::string_view text);
// Whether these first bytes (512 suffice) are those of a tar archive, compressed or not.
bool LooksLikeArchive(absl::string_view beginning);

}  // namespace cachalot::client
