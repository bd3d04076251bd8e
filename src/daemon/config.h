// The settings of a daemon: from buildkitd's TOML file, then from the command line, which wins.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "build/engine.h"
#include "daemon/config_values.h"
#include "daemon/server.h"

namespace cachalot::daemon {

struct Settings {
  std::string root;       // empty: the default
  std::string log_level;  // "", "error", "warn", "info", "debug", "trace"
  std::vector<std::string> entitlements;
  std::optional<bool> oci_worker, containerd_worker;  // not set: auto
  std::string network_mode;                           // "", "auto", "host", "cni", "bridge"
  runtime::CniConfig cni;                             // for the modes that need one
  std::string snapshotter;                            // "", "auto", "overlayfs", "native"
  std::vector<std::string> platforms;
  CollectionLimits limits;
  struct Policy {
    snapshot::PrunePolicy policy;  // without its sizes
    CollectionLimits limits;
  };
  std::vector<Policy> policies;
  ServerOptions server;
  build::Config engine;  // what has no syntax of its own lands here directly
  // Settings that are known but have no effect, each said once in the log.
  std::vector<std::string> ignored;
};

inline constexpr char kDefaultConfigFile[] = "/etc/buildkit/buildkitd.toml";
inline constexpr char kDefaultProvenanceDir[] = "/etc/buildkit/provenance.d";
inline constexpr char kDefaultRoot[] = "/var/lib/cachalot";
inline constexpr char kDefaultAddress[] = "unix:///run/cachalot/cachalotd.sock";

// Adds the settings of a TOML document. Unknown keys and values of a wrong type are INVALID_ARGUMENT, naming key, file and line.
absl::Status ParseConfig(absl::string_view text, const std::string& filename, Settings& settings);
// The same from a file; a missing one counts as empty, as buildkitd has it.
absl::Status LoadConfig(const std::string& filename, Settings& settings);

// Checks the settings against each other and fills in `engine` and the defaults. `root` and `address` are the defaults'.
absl::Status FinishSettings(const std::string& default_root, const std::string& default_address, Settings& settings);

}  // namespace cachalot::daemon
