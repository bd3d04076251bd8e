#include "runtime/bundle_config.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "os/file.h"
#include "runtime/bundle_linux.h"
#include "runtime/json_text.h"

namespace cachalot::runtime {
namespace {

// By number.
constexpr std::array<const char*, 41> kCapabilities = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

constexpr char kDefaultCapabilities[] =
    R"(["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FSETID","CAP_FOWNER","CAP_MKNOD","CAP_NET_RAW","CAP_SETGID","CAP_SETUID","CAP_SETFCAP",)"
    R"("CAP_SETPCAP","CAP_NET_BIND_SERVICE","CAP_SYS_CHROOT","CAP_KILL","CAP_AUDIT_WRITE"])";

// What this process itself may do, as a list of JSON: privileged containers get it all.
const std::string& OwnCapabilities() {
  static const std::string* list = [] {
    std::uint64_t effective = 0;
    std::string status = os::ReadFile("/proc/self/status", 1 << 16).value_or("");
    std::size_t at = status.find("CapEff:\t");
    if (at != std::string::npos) (void)absl::SimpleHexAtoi(status.substr(at + 8, 16), &effective);
    std::vector<std::string> names;
    for (std::size_t i = 0; i < kCapabilities.size(); ++i) {
      if ((effective >> i & 1) != 0) names.push_back(kCapabilities[i]);
    }
    auto* json = new std::string;
    AppendQuotedList(*json, names);
    return json;
  }();
  return *list;
}

struct JsonMount {
  std::string destination, type, source;
  std::vector<std::string> options;
};

std::vector<JsonMount> Mounts(const ContainerSpec& spec, const BundleInput& input) {
  const std::string access = spec.privileged ? "rw" : "ro";
  const std::vector<std::string> bind_options = {"nosuid", "noexec", "nodev", "rbind", "ro"};
  std::vector<JsonMount> mounts = {
      {"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}},
      {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}},
      {"/dev/pts", "devpts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
      {"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
      {"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}},
      {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", access}},
      {"/etc/resolv.conf", "bind", input.resolv_conf, bind_options},
      {"/etc/hosts", "bind", input.hosts, bind_options},
      {"/sys/fs/cgroup", "cgroup", "cgroup", {access, "nosuid", "noexec", "nodev"}},
  };
  for (const MountPoint& point : spec.mounts) {
    JsonMount mount{CleanDestination(point.dest), point.mount.type, point.mount.source, point.mount.options};
    if (point.readonly && std::find(mount.options.begin(), mount.options.end(), "ro") == mount.options.end()) mount.options.push_back("ro");
    // One that is named again takes the place of the earlier one.
    auto same = std::find_if(mounts.begin(), mounts.end(), [&](const JsonMount& other) { return other.destination == mount.destination; });
    if (same != mounts.end())
      *same = std::move(mount);
    else
      mounts.push_back(std::move(mount));
  }
  return mounts;
}

void AppendMounts(std::string& json, const std::vector<JsonMount>& mounts) {
  json += R"("mounts":[)";
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    json += i > 0 ? R"(,{"destination":)" : R"({"destination":)";
    AppendQuoted(json, mounts[i].destination);
    json += R"(,"type":)";
    AppendQuoted(json, mounts[i].type);
    json += R"(,"source":)";
    AppendQuoted(json, mounts[i].source);
    json += R"(,"options":)";
    AppendQuotedList(json, mounts[i].options);
    json += '}';
  }
  json += ']';
}

void AppendCapabilities(std::string& json, bool privileged) {
  const absl::string_view list = privileged ? absl::string_view(OwnCapabilities()) : absl::string_view(kDefaultCapabilities);
  absl::StrAppend(&json, R"("capabilities":{"bounding":)", list, R"(,"effective":)", list, R"(,"permitted":)", list);
  if (privileged) absl::StrAppend(&json, R"(,"inheritable":)", list, R"(,"ambient":)", list);
  json += '}';
}

void AppendRlimits(std::string& json, const std::vector<Rlimit>& rlimits) {
  if (rlimits.empty()) return;
  json += R"("rlimits":[)";
  for (std::size_t i = 0; i < rlimits.size(); ++i) {
    absl::StrAppend(&json, i > 0 ? "," : "", R"({"type":)");
    AppendQuoted(json, absl::StrCat("RLIMIT_", absl::AsciiStrToUpper(rlimits[i].name)));
    // -1 is "unlimited", the largest number.
    absl::StrAppend(&json, R"(,"soft":)", static_cast<std::uint64_t>(rlimits[i].soft), R"(,"hard":)", static_cast<std::uint64_t>(rlimits[i].hard),
                    "}");
  }
  json += "],";
}

void AppendHooks(std::string& json, const std::vector<Hook>& hooks) {
  std::map<std::string, std::string> stages;
  for (const Hook& hook : hooks) {
    std::string& stage = stages[hook.stage];
    absl::StrAppend(&stage, stage.empty() ? "" : ",", R"({"path":)");
    AppendQuoted(stage, hook.path);
    stage += R"(,"args":)";
    AppendQuotedList(stage, hook.args);
    stage += R"(,"env":)";
    AppendQuotedList(stage, hook.env);
    if (hook.timeout_s.has_value()) absl::StrAppend(&stage, R"(,"timeout":)", *hook.timeout_s);
    stage += '}';
  }
  const char* separator = R"("hooks":{")";
  for (const auto& [name, list] : stages) {
    absl::StrAppend(&json, separator, name, R"(":[)", list, "]");
    separator = R"(,")";
  }
  if (!stages.empty()) json += "},";
}

}  // namespace

std::string CleanDestination(const std::string& destination) {
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(destination, '/', absl::SkipEmpty())) {
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (part != ".") {
      parts.push_back(part);
    }
  }
  return absl::StrCat("/", absl::StrJoin(parts, "/"));
}

std::string CgroupPath(const std::string& parent, const std::string& id) {
  if (parent.empty()) return absl::StrCat("/buildkit/", id);
  const bool systemd_form = absl::StrContains(parent, ".slice") && parent.back() == ':';
  return CleanDestination(absl::StrCat("/", parent, systemd_form ? "" : "/buildkit/", id));
}

std::string ProcessConfig(const ProcessSpec& process, const User& user, bool privileged, const std::string& apparmor_profile) {
  std::string json;
  absl::StrAppend(&json, R"({"terminal":)", process.tty ? "true" : "false", R"(,"user":{"uid":)", user.uid, R"(,"gid":)", user.gid,
                  R"(,"additionalGids":[)", absl::StrJoin(user.groups, ","), R"(]},"args":)");
  AppendQuotedList(json, process.args);
  std::vector<std::string> environment = process.env;
  // Runtimes differ in what they do about it.
  if (std::none_of(environment.begin(), environment.end(), [](const std::string& variable) { return absl::StartsWith(variable, "HOME="); })) {
    environment.push_back(absl::StrCat("HOME=", user.home));
  }
  json += R"(,"env":)";
  AppendQuotedList(json, environment);
  json += R"(,"cwd":)";
  AppendQuoted(json, process.cwd.empty() ? "/" : process.cwd);
  json += ',';
  AppendCapabilities(json, privileged);
  json += ',';
  AppendRlimits(json, process.rlimits);
  if (!apparmor_profile.empty() && !privileged) {
    json += R"("apparmorProfile":)";
    AppendQuoted(json, apparmor_profile);
    json += ',';
  }
  json += R"("noNewPrivileges":false})";
  return json;
}

std::string BundleConfig(const ContainerSpec& spec, const User& user, const BundleInput& input) {
  std::string json;
  json.reserve(16384 + input.seccomp.size() + input.seccomp_program.size());
  json += R"({"ociVersion":"1.0.2","process":)";
  json += ProcessConfig(spec.process, user, spec.privileged, input.apparmor_profile);
  json += R"(,"root":{"path":)";
  AppendQuoted(json, spec.rootfs);
  absl::StrAppend(&json, R"(,"readonly":)", spec.readonly_rootfs ? "true" : "false", R"(},"hostname":)");
  AppendQuoted(json, spec.hostname);
  json += ',';
  AppendMounts(json, Mounts(spec, input));
  json += ',';
  AppendHooks(json, spec.devices.hooks);
  AppendLinux(json, spec, user, input);
  if (!spec.privileged && !input.seccomp_program.empty()) {
    json += R"(,"annotations":{"run.oci.seccomp_bpf_data":)";
    AppendQuoted(json, input.seccomp_program);
    json += '}';
  }
  json += '}';
  return json;
}

}  // namespace cachalot::runtime
