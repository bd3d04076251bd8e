// Who a process runs as: names looked up in the container's own files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::runtime {

struct User {
  std::uint32_t uid = 0, gid = 0;
  std::vector<std::uint32_t> groups;  // supplementary ones, the primary one first
  std::string home = "/";             // $HOME where the process's environment has none
};

// Parses "name|uid[:group|gid]" and looks names up in /etc/passwd and /etc/group beneath `root_fd`. Without a group: the user's
// primary one, with the supplementary ones that list the user. Empty is uid 0. The error texts are BuildKit's.
absl::StatusOr<User> LookUpUser(int root_fd, absl::string_view spec);

}  // namespace cachalot::runtime
