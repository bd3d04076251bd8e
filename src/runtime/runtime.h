// Containers: a process description in, an exit status out. Build steps, gateway containers and the engine share this.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/unique_fd.h"
#include "os/mount.h"
#include "runtime/device_edits.h"
#include "runtime/network.h"

namespace cachalot::runtime {

enum class Network { kHost, kNone, kSandbox };  // kSandbox: as configured

struct MountPoint {
  std::string dest;  // absolute, in the container
  os::Mount mount;   // source on the host
  bool readonly = false;
};

struct Rlimit {
  std::string name;  // "nofile"
  std::int64_t soft = 0, hard = 0;
};

struct ProcessSpec {
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::string cwd = "/";
  std::string user;  // "name|uid[:group|gid]", looked up in the container's /etc/passwd and /etc/group
  std::vector<Rlimit> rlimits;
  bool tty = false;
};

// Bounds for all processes of a container together; 0 and empty are "none". The units are the OCI runtime specification's.
struct ResourceLimits {
  std::int64_t memory = 0, memory_swap = 0;  // bytes; swap counts memory and swap together, -1 unlimited
  std::uint64_t cpu_shares = 0, cpu_period = 0;
  std::int64_t cpu_quota = 0;
  std::string cpuset_cpus, cpuset_mems;
};

struct ContainerSpec {
  std::string id;
  std::string rootfs;  // a mounted, writable (unless readonly_rootfs) directory
  bool readonly_rootfs = false;
  std::vector<MountPoint> mounts;  // in order, after the defaults (/proc, /dev, /sys, ...)
  ProcessSpec process;
  std::string hostname = "buildkitsandbox";
  std::vector<std::pair<std::string, std::string>> extra_hosts;  // host, ip
  Network network = Network::kSandbox;
  std::string network_namespace;  // the path of one to join instead
  bool privileged = false;        // LLB's security.insecure
  std::string cgroup_parent;
  ResourceLimits limits;
  DeviceEdits devices;
  // Mount points that the runtime had to make in the root file system are removed again, empty ones only; with this, so are their
  // parents that had to be made.
  bool remove_stub_parents = false;
};

// The standard streams. Invalid descriptors are /dev/null. With a tty, `in` and `out` are joined to a pseudo terminal.
struct Streams {
  UniqueFd in, out, err;
};

struct ResourceUsage {
  std::int64_t cpu_user_us = 0, cpu_system_us = 0, memory_peak_bytes = 0, io_read_bytes = 0, io_write_bytes = 0;
};
struct ExitStatus {
  int code = 0;  // 128 + n when killed by signal n
  bool oom_killed = false;
  ResourceUsage usage;
};

// A running process: the container's first, or one added to it. One thread waits, any may signal and resize.
class Process {
 public:
  virtual ~Process() = default;  // kills it
  // An error when the runtime could not start it, or the cancellation's status: then it is killed with its children first. A program
  // that does not exist or is not executable is no error: the runtime says why on the error stream, and the code is 127 or 126 (1 when
  // only execve(2) itself finds out: a missing interpreter, an unknown format).
  virtual absl::StatusOr<ExitStatus> Wait(const CancelToken& cancel) = 0;
  // Waits until it runs: signals reach it from then on. FAILED_PRECONDITION when it has ended; why is Wait's to tell.
  virtual absl::Status AwaitStart(const CancelToken& cancel) = 0;
  virtual absl::Status Signal(int signal) = 0;
  virtual absl::Status Resize(int rows, int columns) = 0;
};

class Container {
 public:
  virtual ~Container() = default;  // kills what runs and removes the container
  virtual Process& init() = 0;
  // Adds a process; waits for the container to have started. An empty user or environment is the first process's.
  virtual absl::StatusOr<std::unique_ptr<Process>> Exec(const ProcessSpec& process, Streams streams, const CancelToken& cancel) = 0;
};

// Starts containers. Thread-safe. The implementation in use generates an OCI bundle and drives crun (or runc).
class Runtime {
 public:
  struct Config {
    std::string state_dir;        // bundles and runtime state live here
    std::string binary = "crun";  // looked up on PATH
    std::string resolv_conf;      // DNS configuration file for containers; empty: made from the host's
    std::vector<std::string> dns_servers, dns_search, dns_options;
    std::optional<CniConfig> cni;  // for Network::kSandbox; not set: the host's network
    std::string apparmor_profile;
    bool selinux = false;
  };
  // Kills and removes what an earlier life left in the state directory; it must have one owner at a time. On hosts with a hybrid
  // cgroup layout, os::EnterPrivateMountNamespace() comes first.
  static absl::StatusOr<std::unique_ptr<Runtime>> Create(Config config);
  virtual ~Runtime() = default;
  virtual absl::StatusOr<std::unique_ptr<Container>> Start(const ContainerSpec& spec, Streams streams) = 0;
  // A network as containers get it, for one who speaks for a container. The runtime outlives it.
  virtual absl::StatusOr<std::unique_ptr<ContainerNetwork>> Connect(Network network) = 0;
  // Start, wait, remove: the short way for a build step.
  virtual absl::StatusOr<ExitStatus> Run(const ContainerSpec& spec, Streams streams, const CancelToken& cancel) = 0;
};

}  // namespace cachalot::runtime
