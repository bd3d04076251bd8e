// The /etc/hosts and /etc/resolv.conf that containers get.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/guarded.h"

namespace cachalot::runtime {

// The content of /etc/hosts: the loopback names with `hostname`, then the extra hosts (name, address).
std::string HostsFile(absl::string_view hostname, const std::vector<std::pair<std::string, std::string>>& extra_hosts);

struct DnsConfig {
  std::vector<std::string> servers, search, options;  // each overrides the host's when not empty
};

// The content of /etc/resolv.conf made from the host's. Unless `host_network`, servers on loopback addresses are dropped, for they
// cannot be reached from a network of one's own; public ones stand in when none is left.
absl::StatusOr<std::string> ResolvConf(absl::string_view host_file, const DnsConfig& dns, bool host_network);

// Keeps such files in a directory and hands out their paths. Thread-safe.
class EtcFiles {
 public:
  // `source` is the host's resolv.conf; empty: /etc/resolv.conf, or systemd-resolved's where that only names its stub.
  EtcFiles(std::string directory, std::string source, DnsConfig dns);

  // The path of the shared resolv.conf, made anew when the host's has changed.
  absl::StatusOr<std::string> ResolvConfPath(bool host_network);
  // The path of the shared hosts file for the default host name and no extra hosts.
  absl::StatusOr<std::string> DefaultHostsPath();

 private:
  struct Made {
    std::string stamp[2];  // of the host's file when ours was made, by host_network; empty: not made
    bool hosts = false;
  };

  std::string Source(bool host_network) const;

  const std::string directory_, source_;
  const DnsConfig dns_;
  Guarded<Made> made_;
};

inline constexpr char kDefaultHostname[] = "buildkitsandbox";

}  // namespace cachalot::runtime
