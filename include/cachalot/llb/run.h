// Processes: the options of State::Run and the trees that come out of it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cachalot/llb/state.h"

namespace cachalot::llb {

struct MountOptions {
  bool readonly = false;
  std::string selector = {};  // the path within the source that is mounted
  bool no_output = false;     // writable, but what is written is dropped
  ContentCache content_cache = ContentCache::kDefault;
  std::optional<CacheMount> cache = {};         // a directory that persists between builds; its source is what it starts from
  std::optional<std::int64_t> tmpfs_size = {};  // a tmpfs of at most this many bytes, 0 for no limit; its source must be scratch
};

struct SecretOptions {
  std::string id = {};
  std::string dest = {};  // file in the process's tree; empty for none
  std::string env = {};   // environment variable; empty for none
  std::uint32_t uid = 0, gid = 0, mode = 0400;
  bool optional = false;
};

struct SshOptions {
  std::string id = {};
  std::string dest = {};  // the socket; by default /run/buildkit/ssh_agent.<n>, named by SSH_AUTH_SOCK
  std::uint32_t uid = 0, gid = 0, mode = 0600;
  bool optional = false;
};

// One process. Setters chain; those that edit settings apply to this process only, after those of the state.
struct RunOptions {
  struct MountEntry {
    std::string dest;
    State source;
    MountOptions options;
  };

  std::vector<std::string> args = {};
  std::vector<MountEntry> mounts = {};
  std::vector<SecretOptions> secrets = {};
  std::vector<SshOptions> ssh = {};
  std::vector<CdiDevice> cdi_devices = {};
  bool readonly_root = false;
  std::optional<ProxyEnv> proxy = {};
  std::vector<std::function<void(ProcessSettings&)>> edits = {};
  Constraints constraints = {};

  RunOptions& Args(std::vector<std::string> arguments);
  // Splits a command line into arguments as a shell would, without expanding anything. Unbalanced quotes leave no arguments.
  RunOptions& Shlex(absl::string_view command);
  // Later mounts of one place replace none: the daemon mounts in the order of the paths.
  RunOptions& AddMount(std::string dest, State source, MountOptions options = {});
  RunOptions& AddSecret(SecretOptions secret);
  RunOptions& AddSsh(SshOptions socket = {});
  RunOptions& AddDevice(std::string name, bool optional = false);
  RunOptions& ReadonlyRoot(bool readonly = true);
  RunOptions& Proxy(ProxyEnv environment);
  RunOptions& Edit(std::function<void(ProcessSettings&)> edit);
  RunOptions& AddEnv(std::string name, std::string value);
  RunOptions& Dir(std::string path);
  RunOptions& User(std::string user);
  RunOptions& Hostname(std::string hostname);
  RunOptions& Network(NetMode network);
  RunOptions& Security(SecurityMode security);
  RunOptions& AddExtraHost(std::string host, std::string ip);
  RunOptions& AddUlimit(std::string name, std::int64_t soft, std::int64_t hard);
  RunOptions& CgroupParent(std::string parent);
  RunOptions& ValidExitCodes(std::vector<int> codes);
  RunOptions& With(Constraints wanted);
};

// A process that will run, and the trees it leaves.
class Exec {
 public:
  // The root as the process leaves it (as it was, when it is read-only), with the settings of the state it ran on.
  State Root() const { return root_; }
  // The tree mounted at `dest` as the process leaves it, with the settings of the mount's source; a read-only mount's source.
  // NOT_FOUND when nothing is mounted there, FAILED_PRECONDITION for mounts that leave nothing (tmpfs, cache, no_output).
  absl::StatusOr<State> GetMount(absl::string_view dest) const;

 private:
  friend class State;
  explicit Exec(State root) : root_(std::move(root)) {}

  State root_;
  std::map<std::string, absl::StatusOr<State>, std::less<>> mounts_;
};

}  // namespace cachalot::llb
