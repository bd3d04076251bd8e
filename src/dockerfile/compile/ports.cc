#include "dockerfile/compile/ports.h"

#include <arpa/inet.h>

#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/shell/quote.h"

namespace cachalot::dockerfile {
namespace {

constexpr std::uint32_t kMaxPort = 65535;

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// False unless `text` is a port or a range of ports.
bool ParseRange(absl::string_view text, std::uint32_t* first, std::uint32_t* last) {
  const std::size_t dash = text.find('-');
  const auto start = ParseUnsigned32(text.substr(0, dash), 10);
  const auto end = dash == absl::string_view::npos ? start : ParseUnsigned32(text.substr(dash + 1), 10);
  if (!start.has_value() || !end.has_value() || *start > kMaxPort || *end > kMaxPort || *end < *start) return false;
  *first = *start;
  *last = *end;
  return true;
}

bool IsIp(std::string text) {
  if (absl::StartsWith(text, "[") && absl::EndsWith(text, "]")) text = text.substr(1, text.size() - 2);
  unsigned char bytes[sizeof(in6_addr)];
  return inet_pton(AF_INET, text.c_str(), bytes) == 1 || inet_pton(AF_INET6, text.c_str(), bytes) == 1;
}

}  // namespace

absl::Status ParsePorts(const std::string& text, Lines lines, const Linter& linter, std::vector<std::string>* ports) {
  std::vector<std::string> parts = absl::StrSplit(text, ':');
  const std::string last_part = parts.back();
  parts.pop_back();
  std::string host_port, ip;
  if (!parts.empty()) {
    host_port = parts.back();
    parts.pop_back();
    ip = absl::StrJoin(parts, ":");
  }
  const std::pair<std::string, std::string> port_and_protocol = absl::StrSplit(last_part, absl::MaxSplits('/', 1));
  const std::string& port = port_and_protocol.first;
  const std::string protocol = port_and_protocol.second.empty() ? "tcp" : port_and_protocol.second;
  const std::string lower = absl::AsciiStrToLower(protocol);
  if (port.empty()) return Invalid("invalid port: ", GoQuote(text), ": no port specified");
  if (lower != "tcp" && lower != "udp" && lower != "sctp") return Invalid("invalid port: ", GoQuote(text), ": invalid proto: ", protocol);
  if (protocol != lower) {
    linter.Report(kExposeProtoCasing, lines, absl::StrCat("Defined protocol '", text, "' in EXPOSE instruction should be lowercase"));
  }
  if (!ip.empty() || !host_port.empty()) {
    linter.Report(kExposeInvalidFormat, lines,
                  absl::StrCat("EXPOSE instruction should not define an IP address or host-port mapping, found '", text, "'"));
  }
  if (!ip.empty() && !IsIp(ip)) return Invalid("invalid IP address: ", ip);
  std::uint32_t first = 0, last = 0, host_first = 0, host_last = 0;
  if (!ParseRange(port, &first, &last)) return Invalid("invalid containerPort: ", port);
  if (!host_port.empty()) {
    if (!ParseRange(host_port, &host_first, &host_last)) return Invalid("invalid hostPort: ", host_port);
    if (last - first != host_last - host_first && first != last) {
      return Invalid("invalid ranges specified for container and host Ports: ", port, " and ", host_port);
    }
  }
  for (std::uint32_t number = first; number <= last; ++number) ports->push_back(absl::StrCat(number, "/", lower));
  return absl::OkStatus();
}

}  // namespace cachalot::dockerfile
