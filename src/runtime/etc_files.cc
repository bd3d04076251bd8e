#include "runtime/etc_files.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"

namespace cachalot::runtime {
namespace {

constexpr char kHostFile[] = "/etc/resolv.conf";
constexpr char kResolvedFile[] = "/run/systemd/resolve/resolv.conf";
constexpr char kResolvedStub[] = "127.0.0.53";
constexpr std::size_t kMaxResolvConf = 1 << 20;

struct Settings {
  std::vector<std::string> servers, search, options, other;
};

bool IsAddress(const std::string& text) {
  unsigned char address[sizeof(struct in6_addr)];
  // A zone ("%eth0") belongs to the address but is not understood by inet_pton.
  std::string bare = text.substr(0, text.find('%'));
  return ::inet_pton(AF_INET, text.c_str(), address) == 1 || ::inet_pton(AF_INET6, bare.c_str(), address) == 1;
}

bool IsLoopback(absl::string_view address) { return absl::StartsWith(address, "127.") || address == "::1"; }

Settings Parse(absl::string_view text) {
  Settings settings;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    std::vector<std::string> fields = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (fields.empty()) continue;
    std::string keyword = fields[0];
    fields.erase(fields.begin());
    if (keyword == "nameserver") {
      if (!fields.empty() && IsAddress(fields[0])) settings.servers.push_back(fields[0]);
    } else if (keyword == "domain" || keyword == "search") {
      if (!fields.empty()) settings.search = std::move(fields);  // the last line counts
    } else if (keyword == "options") {
      settings.options.insert(settings.options.end(), fields.begin(), fields.end());
    } else {
      settings.other.emplace_back(line);
    }
  }
  return settings;
}

void DropUnreachable(Settings& settings) {
  settings.servers.erase(std::remove_if(settings.servers.begin(), settings.servers.end(), [](const std::string& s) { return IsLoopback(s); }),
                         settings.servers.end());
  if (settings.servers.empty()) settings.servers = {"8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"};
}

std::string Print(const Settings& settings) {
  std::string text;
  for (const std::string& server : settings.servers) absl::StrAppend(&text, "nameserver ", server, "\n");
  if (!settings.search.empty()) absl::StrAppend(&text, "search ", absl::StrJoin(settings.search, " "), "\n");
  if (!settings.options.empty()) absl::StrAppend(&text, "options ", absl::StrJoin(settings.options, " "), "\n");
  for (const std::string& line : settings.other) absl::StrAppend(&text, line, "\n");
  return text;
}

// Tells versions of a file apart.
std::string Stamp(const std::string& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return "absent";
  return absl::StrCat(path, " ", st.st_ino, " ", st.st_size, " ", st.st_mtim.tv_sec, ".", st.st_mtim.tv_nsec);
}

}  // namespace

std::string HostsFile(absl::string_view hostname, const std::vector<std::pair<std::string, std::string>>& extra_hosts) {
  std::string text =
      absl::StrCat("127.0.0.1\tlocalhost ", hostname.empty() ? kDefaultHostname : hostname, "\n::1\tlocalhost ip6-localhost ip6-loopback\n");
  for (const auto& [host, address] : extra_hosts) absl::StrAppend(&text, address, "\t", host, "\n");
  return text;
}

absl::StatusOr<std::string> ResolvConf(absl::string_view host_file, const DnsConfig& dns, bool host_network) {
  Settings settings = Parse(host_file);
  for (const std::string& server : dns.servers) {
    if (!IsAddress(server)) return absl::InvalidArgumentError(absl::StrCat("bad nameserver address: \"", server, "\""));
  }
  if (!dns.servers.empty()) settings.servers = dns.servers;
  if (!dns.search.empty()) {
    settings.search = dns.search;
    settings.search.erase(std::remove(settings.search.begin(), settings.search.end(), "."), settings.search.end());
  }
  if (!dns.options.empty()) settings.options = dns.options;
  if (dns.servers.empty() && (!host_network || settings.servers.empty())) DropUnreachable(settings);
  return Print(settings);
}

EtcFiles::EtcFiles(std::string directory, std::string source, DnsConfig dns)
    : directory_(std::move(directory)), source_(std::move(source)), dns_(std::move(dns)) {}

std::string EtcFiles::Source(bool host_network) const {
  if (!source_.empty()) return source_;
  if (host_network) return kHostFile;
  // systemd-resolved's stub listens on the host's loopback alone; its own list of servers works from elsewhere.
  Settings settings = Parse(os::ReadFile(kHostFile, kMaxResolvConf).value_or(""));
  bool stub_alone = settings.servers.size() == 1 && settings.servers[0] == kResolvedStub;
  return stub_alone ? kResolvedFile : kHostFile;
}

absl::StatusOr<std::string> EtcFiles::ResolvConfPath(bool host_network) {
  std::string path = absl::StrCat(directory_, host_network ? "/resolv-host.conf" : "/resolv.conf");
  std::string source = Source(host_network);
  std::string stamp = Stamp(source);
  auto made = made_.Lock();
  if (made->stamp[host_network] == stamp) return path;
  absl::StatusOr<std::string> host_file = os::ReadFile(source, kMaxResolvConf);
  if (!host_file.ok() && !absl::IsNotFound(host_file.status())) return host_file.status();
  ASSIGN_OR_RETURN(std::string content, ResolvConf(host_file.value_or(""), dns_, host_network));
  RETURN_IF_ERROR(os::WriteFileAtomic(path, content));
  made->stamp[host_network] = stamp;
  return path;
}

absl::StatusOr<std::string> EtcFiles::DefaultHostsPath() {
  std::string path = directory_ + "/hosts";
  auto made = made_.Lock();
  if (made->hosts) return path;
  RETURN_IF_ERROR(os::WriteFileAtomic(path, HostsFile(kDefaultHostname, {})));
  made->hosts = true;
  return path;
}

}  // namespace cachalot::runtime
