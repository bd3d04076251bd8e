#include "runtime/cdi_edits.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::runtime {
namespace {

const std::vector<YamlNode>& Items(const YamlNode& node, absl::string_view name) {
  static const auto& empty = *new std::vector<YamlNode>;
  const YamlNode* member = node.Find(name);
  return member == nullptr ? empty : member->items;
}

std::string Text(const YamlNode& node, absl::string_view name) {
  const YamlNode* member = node.Find(name);
  return member == nullptr ? "" : member->text;
}

std::vector<std::string> Texts(const YamlNode& node, absl::string_view name) {
  std::vector<std::string> texts;
  for (const YamlNode& item : Items(node, name)) texts.push_back(item.text);
  return texts;
}

// Decimal, or octal after a 0, as YAML 1.1 and Go have it.
template <typename Number>
absl::Status ReadNumber(const YamlNode& node, absl::string_view name, std::optional<Number>& target) {
  const YamlNode* member = node.Find(name);
  if (member == nullptr || member->text == "null" || member->text == "~") return absl::OkStatus();
  absl::string_view digits = member->text;
  Number value = 0;
  const bool octal = digits.size() > 1 && digits[0] == '0';
  if (octal && digits.size() > 2 && digits[1] == 'o') digits.remove_prefix(2);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, octal ? 8 : 10);
  if (error != std::errc() || end != digits.data() + digits.size())
    return absl::InvalidArgumentError(absl::StrCat(name, ": \"", member->text, "\" is not a number"));
  target = value;
  return absl::OkStatus();
}

absl::Status ReadNode(const YamlNode& node, DeviceNode& device) {
  device.path = Text(node, "path");
  if (device.path.empty() || device.path[0] != '/') return absl::InvalidArgumentError("a device node without a path");
  device.host_path = Text(node, "hostPath");
  if (device.host_path.empty()) device.host_path = device.path;
  device.type = Text(node, "type");
  static const std::set<std::string> kTypes = {"", "b", "c", "u", "p"};
  if (kTypes.count(device.type) == 0) return absl::InvalidArgumentError(absl::StrCat(device.path, ": unknown type ", device.type));
  RETURN_IF_ERROR(ReadNumber(node, "major", device.major));
  RETURN_IF_ERROR(ReadNumber(node, "minor", device.minor));
  RETURN_IF_ERROR(ReadNumber(node, "fileMode", device.file_mode));
  RETURN_IF_ERROR(ReadNumber(node, "uid", device.uid));
  RETURN_IF_ERROR(ReadNumber(node, "gid", device.gid));
  if (std::string permissions = Text(node, "permissions"); !permissions.empty()) device.permissions = std::move(permissions);
  if (device.permissions.find_first_not_of("rwm") != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(device.path, ": permissions ", device.permissions));
  }
  return absl::OkStatus();
}

absl::Status ReadMount(const YamlNode& node, DeviceMount& mount) {
  mount.dest = Text(node, "containerPath");
  mount.mount.source = Text(node, "hostPath");
  if (mount.dest.empty() || mount.mount.source.empty()) return absl::InvalidArgumentError("a mount without hostPath or containerPath");
  mount.mount.options = Texts(node, "options");
  mount.mount.type = Text(node, "type");
  if (!mount.mount.type.empty()) return absl::OkStatus();
  mount.mount.type = "bind";
  const bool binds = std::any_of(mount.mount.options.begin(), mount.mount.options.end(), [](const auto& o) { return o == "bind" || o == "rbind"; });
  if (!binds) mount.mount.options.push_back("rbind");
  return absl::OkStatus();
}

absl::Status ReadHook(const YamlNode& node, Hook& hook) {
  static const std::set<std::string> kStages = {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"};
  hook.stage = Text(node, "hookName");
  if (kStages.count(hook.stage) == 0) return absl::InvalidArgumentError(absl::StrCat("unknown hook ", hook.stage));
  hook.path = Text(node, "path");
  if (hook.path.empty()) return absl::InvalidArgumentError("a hook without a path");
  hook.args = Texts(node, "args");
  hook.env = Texts(node, "env");
  return ReadNumber(node, "timeout", hook.timeout_s);
}

absl::Status ReadGroup(const YamlNode& node, std::uint32_t& group) {
  if (absl::SimpleAtoi(node.text, &group)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("additionalGids: \"", node.text, "\" is not a number"));
}

template <typename Target>
absl::Status ReadAll(const YamlNode& node, absl::string_view name, absl::Status (*read)(const YamlNode&, Target&), std::vector<Target>& targets) {
  for (const YamlNode& item : Items(node, name)) RETURN_IF_ERROR(read(item, targets.emplace_back()));
  return absl::OkStatus();
}

}  // namespace

void DeviceEdits::Append(const DeviceEdits& other) {
  env.insert(env.end(), other.env.begin(), other.env.end());
  nodes.insert(nodes.end(), other.nodes.begin(), other.nodes.end());
  mounts.insert(mounts.end(), other.mounts.begin(), other.mounts.end());
  hooks.insert(hooks.end(), other.hooks.begin(), other.hooks.end());
  groups.insert(groups.end(), other.groups.begin(), other.groups.end());
}

absl::StatusOr<DeviceEdits> ReadDeviceEdits(const YamlNode* node) {
  DeviceEdits edits;
  if (node == nullptr) return edits;
  edits.env = Texts(*node, "env");
  for (const std::string& variable : edits.env) {
    if (variable.find('=') == std::string::npos) return absl::InvalidArgumentError(absl::StrCat("invalid environment variable \"", variable, "\""));
  }
  RETURN_IF_ERROR(ReadAll(*node, "deviceNodes", ReadNode, edits.nodes));
  RETURN_IF_ERROR(ReadAll(*node, "mounts", ReadMount, edits.mounts));
  RETURN_IF_ERROR(ReadAll(*node, "hooks", ReadHook, edits.hooks));
  RETURN_IF_ERROR(ReadAll(*node, "additionalGids", ReadGroup, edits.groups));
  return edits;
}

absl::Status CompleteNode(DeviceNode& node) {
  if (!node.type.empty() && (node.type == "p" || (node.major.has_value() && node.minor.has_value()))) return absl::OkStatus();
  struct stat st;
  if (::stat(node.host_path.c_str(), &st) != 0) return ErrnoError(absl::StrCat("device node ", node.host_path));
  std::string type = S_ISBLK(st.st_mode) ? "b" : S_ISCHR(st.st_mode) ? "c" : S_ISFIFO(st.st_mode) ? "p" : "";
  if (type.empty() || (!node.type.empty() && node.type != type)) {
    return absl::InvalidArgumentError(absl::StrCat("device node ", node.host_path, " is not of type ", node.type.empty() ? "b, c or p" : node.type));
  }
  node.type = std::move(type);
  if (node.type == "p") return absl::OkStatus();
  if (!node.major.has_value()) node.major = ::major(st.st_rdev);
  if (!node.minor.has_value()) node.minor = ::minor(st.st_rdev);
  return absl::OkStatus();
}

}  // namespace cachalot::runtime
