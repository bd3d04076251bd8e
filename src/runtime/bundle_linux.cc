#include "runtime/bundle_linux.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "os/file.h"
#include "runtime/json_text.h"

namespace cachalot::runtime {
namespace {

constexpr char kMaskedPaths[] =
    R"(["/proc/acpi","/proc/asound","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/timer_list","/proc/timer_stats",)"
    R"("/proc/sched_debug","/sys/firmware","/sys/devices/virtual/powercap","/proc/scsi"])";
constexpr char kReadonlyPaths[] = R"(["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"])";

// The first loop device that nothing uses, or 0.
int FreeLoopDevice() {
  absl::StatusOr<UniqueFd> control = os::Open("/dev/loop-control", O_RDWR);
  int free = control.ok() ? ::ioctl(control->get(), LOOP_CTL_GET_FREE) : 0;
  return std::max(free, 0);
}

void AppendInsecureDevices(std::string& json) {
  json += R"({"path":"/dev/kmsg","type":"c","major":1,"minor":11},{"path":"/dev/cuse","type":"c","major":10,"minor":203},)"
          R"({"path":"/dev/fuse","type":"c","major":10,"minor":229},{"path":"/dev/kvm","type":"c","major":10,"minor":232},)"
          R"({"path":"/dev/net/tun","type":"c","major":10,"minor":200},{"path":"/dev/loop-control","type":"c","major":10,"minor":237},)";
  for (int i = 0, last = FreeLoopDevice() + 7; i <= last; ++i) {
    absl::StrAppend(&json, R"({"path":"/dev/loop)", i, R"(","type":"b","major":7,"minor":)", i, "},");
  }
}

void AppendNode(std::string& json, const DeviceNode& node, const User& user) {
  json += R"({"path":)";
  AppendQuoted(json, node.path);
  absl::StrAppend(&json, R"(,"type":")", node.type, R"(","major":)", node.major.value_or(0), R"(,"minor":)", node.minor.value_or(0));
  if (node.file_mode.has_value()) absl::StrAppend(&json, R"(,"fileMode":)", *node.file_mode);
  absl::StrAppend(&json, R"(,"uid":)", node.uid.value_or(user.uid), R"(,"gid":)", node.gid.value_or(user.gid), "},");
}

// The devices to be made, and the rules of their control group.
void AppendDevices(std::string& json, const ContainerSpec& spec, const User& user) {
  std::string nodes, rules;
  if (spec.privileged) AppendInsecureDevices(nodes);
  rules +=
      spec.privileged ? R"({"allow":true,"type":"c","access":"rwm"},{"allow":true,"type":"b","access":"rwm"})" : R"({"allow":false,"access":"rwm"})";
  for (const DeviceNode& node : spec.devices.nodes) {
    AppendNode(nodes, node, user);
    if (node.type == "p") continue;
    absl::StrAppend(&rules, R"(,{"allow":true,"type":")", node.type == "b" ? "b" : "c", R"(","major":)", *node.major, R"(,"minor":)", *node.minor,
                    R"(,"access":")", node.permissions, R"("})");
  }
  if (!nodes.empty()) nodes.pop_back();
  absl::StrAppend(&json, R"("devices":[)", nodes, R"(],"resources":{"devices":[)", rules, "]");
}

// The rest of "resources", and its end.
void AppendLimits(std::string& json, const ResourceLimits& limits) {
  std::string memory, cpu;
  if (limits.memory != 0) absl::StrAppend(&memory, R"(,"limit":)", limits.memory);
  if (limits.memory_swap != 0) absl::StrAppend(&memory, R"(,"swap":)", limits.memory_swap);
  if (limits.cpu_shares != 0) absl::StrAppend(&cpu, R"(,"shares":)", limits.cpu_shares);
  if (limits.cpu_quota != 0) absl::StrAppend(&cpu, R"(,"quota":)", limits.cpu_quota);
  if (limits.cpu_period != 0) absl::StrAppend(&cpu, R"(,"period":)", limits.cpu_period);
  for (const auto& [name, set] : {std::make_pair("cpus", &limits.cpuset_cpus), std::make_pair("mems", &limits.cpuset_mems)}) {
    if (set->empty()) continue;
    absl::StrAppend(&cpu, R"(,")", name, R"(":)");
    AppendQuoted(cpu, *set);
  }
  if (!memory.empty()) absl::StrAppend(&json, R"(,"memory":{)", memory.substr(1), "}");
  if (!cpu.empty()) absl::StrAppend(&json, R"(,"cpu":{)", cpu.substr(1), "}");
  json += '}';
}

void AppendNamespaces(std::string& json, const BundleInput& input) {
  json += R"("namespaces":[{"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"mount"})";
  if (!input.host_network) {
    json += R"(,{"type":"network")";
    if (!input.network_namespace.empty()) {
      json += R"(,"path":)";
      AppendQuoted(json, input.network_namespace);
    }
    json += '}';
  }
  if (input.cgroup_namespace) json += R"(,{"type":"cgroup"})";
  json += ']';
}

}  // namespace

void AppendLinux(std::string& json, const ContainerSpec& spec, const User& user, const BundleInput& input) {
  json += R"("linux":{)";
  AppendNamespaces(json, input);
  json += R"(,"cgroupsPath":)";
  AppendQuoted(json, input.cgroup_path);
  json += ',';
  AppendDevices(json, spec, user);
  AppendLimits(json, spec.limits);
  if (!spec.privileged) {
    absl::StrAppend(&json, R"(,"maskedPaths":)", kMaskedPaths, R"(,"readonlyPaths":)", kReadonlyPaths);
    if (!input.seccomp.empty()) absl::StrAppend(&json, R"(,"seccomp":)", input.seccomp);
  }
  json += '}';
}

}  // namespace cachalot::runtime
