// Addresses of git repositories, as BuildKit reads them.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace cachalot::llb {

struct GitUrl {
  std::string scheme;  // "https", "http", "git" or "ssh"
  std::string host;    // with the port, without the user
  std::string path;
  std::string remote;  // the address for git: without query and fragment
};

// Reads https://, http://, git:// and ssh:// addresses and user@host:path. Nothing for any other text.
std::optional<GitUrl> ParseGitUrl(absl::string_view text);
// Whether `text` begins with a scheme, known or not.
bool HasScheme(absl::string_view text);

}  // namespace cachalot::llb
