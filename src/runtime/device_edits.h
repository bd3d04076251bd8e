// What devices change in a container: the container edits of the Container Device Interface (CDI).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "os/mount.h"

namespace cachalot::runtime {

struct DeviceNode {
  std::string path;       // in the container
  std::string host_path;  // what type and numbers come from when they are not given
  std::string type;       // "b", "c", "u" or "p"
  std::optional<std::int64_t> major, minor;
  std::optional<std::uint32_t> file_mode, uid, gid;  // without an owner: the process's
  std::string permissions = "rwm";                   // a subset, for the device control group
};

struct DeviceMount {
  std::string dest;
  os::Mount mount;
};

struct Hook {
  std::string stage;  // the runtime specification's: "createContainer", ...
  std::string path;
  std::vector<std::string> args, env;
  std::optional<int> timeout_s;
};

struct DeviceEdits {
  std::vector<std::string> env;  // NAME=value, each in the place of an earlier one
  std::vector<DeviceNode> nodes;
  std::vector<DeviceMount> mounts;
  std::vector<Hook> hooks;
  std::vector<std::uint32_t> groups;  // supplementary

  void Append(const DeviceEdits& other);
};

}  // namespace cachalot::runtime
