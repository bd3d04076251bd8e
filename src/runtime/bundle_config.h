// The config.json of an OCI bundle: what the runtime is told about a container.
#pragma once

#include <string>
#include <vector>

#include "runtime/runtime.h"
#include "runtime/user.h"

namespace cachalot::runtime {

// What a container's description needs beyond its ContainerSpec.
struct BundleInput {
  std::string resolv_conf, hosts;  // paths of the files to bind
  std::string cgroup_path;
  bool host_network = true;
  std::string network_namespace;  // path to join; empty with !host_network: a new one
  bool cgroup_namespace = false;
  std::string apparmor_profile;
  // JSON texts; empty: no filter. The program goes by an annotation that crun knows.
  std::string seccomp, seccomp_program;
};

// The description in the OCI runtime specification's JSON, version 1.0.2.
std::string BundleConfig(const ContainerSpec& spec, const User& user, const BundleInput& input);
// The `process` part alone, as exec takes it.
std::string ProcessConfig(const ProcessSpec& process, const User& user, bool privileged, const std::string& apparmor_profile);
// The absolute, normalised path of a mount's destination.
std::string CleanDestination(const std::string& destination);
// The control group of the container `id` beneath the one that a client asks for (none: ""). It stays in the hierarchy, whatever is asked for: the
// runtime makes it, and we kill and remove what is in it.
std::string CgroupPath(const std::string& parent, const std::string& id);

}  // namespace cachalot::runtime
