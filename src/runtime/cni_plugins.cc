#include "runtime/cni_plugins.h"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/log.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "os/process.h"

namespace cachalot::runtime {
namespace {

constexpr std::size_t kMaxConfig = 4 << 20;
constexpr std::size_t kMaxOutput = 4 << 20;
constexpr int kCallTimeMs = 60'000;
constexpr char kInterface[] = "eth0";

// Plugins before this version know nothing of earlier results when they delete.
bool DeletesWithResult(const std::string& version) {
  return !version.empty() && !absl::StartsWith(version, "0.1") && !absl::StartsWith(version, "0.2") && !absl::StartsWith(version, "0.3");
}

absl::StatusOr<UniqueFd> MemoryFile(absl::string_view content) {
  UniqueFd fd(::memfd_create("cni", MFD_CLOEXEC));
  if (!fd.valid()) return ErrnoError("memory file");
  RETURN_IF_ERROR(os::WriteAll(fd.get(), content, "memory file"));
  if (::lseek(fd.get(), 0, SEEK_SET) != 0) return ErrnoError("memory file");
  return fd;
}

absl::StatusOr<std::string> Written(int fd) {
  if (::lseek(fd, 0, SEEK_SET) != 0) return ErrnoError("memory file");
  return os::ReadAll(fd, kMaxOutput, "output of a CNI plugin");
}

// What a failed plugin says: an object on its output, or plain text on its error stream.
std::string FailureText(const std::string& output, const std::string& errors) {
  const nlohmann::json json = nlohmann::json::parse(output, nullptr, false);
  if (!json.is_object() || !json.contains("msg") || !json["msg"].is_string()) {
    return errors.empty() ? "no message" : std::string(absl::StripSuffix(errors, "\n"));
  }
  std::string text = json["msg"].get<std::string>();
  if (json.contains("details") && json["details"].is_string() && json["details"] != "") {
    absl::StrAppend(&text, "; ", json["details"].get<std::string>());
  }
  return text;
}

// The list that the bridge mode stands for.
std::string BridgeList(const CniConfig& config, const std::string& prefix) {
  const nlohmann::json range = {{"subnet", config.bridge_subnet}};
  const nlohmann::json ranges = nlohmann::json::array({nlohmann::json::array({range})});
  const nlohmann::json bridge = {{"type", prefix + "bridge"},
                                 {"bridge", config.bridge_name},
                                 {"isDefaultGateway", true},
                                 {"ipMasq", true},
                                 {"ipam", {{"type", prefix + "host-local"}, {"ranges", ranges}}}};
  const nlohmann::json firewall = {{"type", prefix + "firewall"}, {"backend", ""}, {"ingressPolicy", "same-bridge"}};
  return nlohmann::json{{"cniVersion", "1.0.0"}, {"name", "buildkit"}, {"plugins", {bridge, firewall}}}.dump();
}

absl::StatusOr<CniPlugins> LoadBridge(const CniConfig& config) {
  // BuildKit's packages bring plugins under names of their own.
  constexpr char kPrefix[] = "buildkit-cni-";
  if (absl::StatusOr<std::string> shipped = os::FindProgram(absl::StrCat(kPrefix, "bridge")); shipped.ok()) {
    return CniPlugins::Parse(BridgeList(config, kPrefix), shipped->substr(0, shipped->rfind('/')));
  }
  const std::string program = absl::StrCat(config.plugin_dir, "/bridge");
  if (::access(program.c_str(), X_OK) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("failed to find CNI bridge \"", program, "\" or buildkit-cni-bridge"));
  }
  return CniPlugins::Parse(BridgeList(config, ""), config.plugin_dir);
}

}  // namespace

absl::StatusOr<CniPlugins> CniPlugins::Load(const CniConfig& config) {
  if (config.bridge) return LoadBridge(config);
  absl::StatusOr<std::string> text = os::ReadFile(config.config_path, kMaxConfig);
  if (!text.ok()) return Annotate(text.status(), absl::StrCat("failed to read cni config \"", config.config_path, "\""));
  if (::access(config.plugin_dir.c_str(), X_OK) != 0) {
    return ErrnoError(absl::StrCat("failed to read cni binary dir \"", config.plugin_dir, "\""));
  }
  absl::StatusOr<CniPlugins> plugins = Parse(*text, config.plugin_dir);
  if (!plugins.ok()) return Annotate(plugins.status(), config.config_path);
  return plugins;
}

absl::StatusOr<CniPlugins> CniPlugins::Parse(absl::string_view text, const std::string& plugin_dir) {
  nlohmann::json json = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  if (!json.is_object()) return absl::InvalidArgumentError("the CNI configuration is not a JSON object");
  CniPlugins list;
  list.plugin_dir_ = plugin_dir;
  for (const auto& [name, target] : {std::make_pair("name", &list.name_), std::make_pair("cniVersion", &list.version_)}) {
    if (json.contains(name) && json[name].is_string()) *target = json[name].get<std::string>();
  }
  if (list.name_.empty()) return absl::InvalidArgumentError("the CNI configuration has no name");
  if (json.contains("plugins")) {
    if (!json["plugins"].is_array()) return absl::InvalidArgumentError("\"plugins\" is not a list");
    for (nlohmann::json& plugin : json["plugins"]) list.plugins_.push_back(std::move(plugin));
  } else {
    list.plugins_.push_back(std::move(json));
  }
  for (const nlohmann::json& plugin : list.plugins_) {
    const bool typed = plugin.is_object() && plugin.contains("type") && plugin["type"].is_string();
    if (!typed || absl::StrContains(plugin["type"].get<std::string>(), '/')) return absl::InvalidArgumentError("a CNI plugin without a type");
  }
  if (list.plugins_.empty()) return absl::InvalidArgumentError("the CNI configuration has no plugins");
  return list;
}

absl::StatusOr<std::string> CniPlugins::Call(const char* command, const nlohmann::json& plugin, const Attachment& attachment,
                                             const std::string& previous) const {
  nlohmann::json config = plugin;
  config["name"] = name_;
  if (!version_.empty()) config["cniVersion"] = version_;
  if (!previous.empty()) config["prevResult"] = nlohmann::json::parse(previous, nullptr, false);
  ASSIGN_OR_RETURN(const UniqueFd in, MemoryFile(config.dump()));
  ASSIGN_OR_RETURN(const UniqueFd out, MemoryFile(""));
  ASSIGN_OR_RETURN(const UniqueFd err, MemoryFile(""));
  const std::string type = plugin["type"].get<std::string>();
  os::Command call;
  call.argv = {absl::StrCat(plugin_dir_, "/", type)};
  call.env =
      std::vector<std::string>{absl::StrCat("CNI_COMMAND=", command),        absl::StrCat("CNI_CONTAINERID=", attachment.container_id),
                               absl::StrCat("CNI_NETNS=", attachment.netns), absl::StrCat("CNI_IFNAME=", kInterface),
                               absl::StrCat("CNI_PATH=", plugin_dir_),       "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  // The name is what Kubernetes calls it, and what plugins that serve names look for.
  if (!attachment.hostname.empty()) call.env->push_back(absl::StrCat("CNI_ARGS=K8S_POD_NAME=", attachment.hostname, ";IgnoreUnknown=1"));
  call.stdin_fd = in.get();
  call.stdout_fd = out.get();
  call.stderr_fd = err.get();
  ASSIGN_OR_RETURN(os::ChildProcess child, os::Spawner::Shared().Spawn(call));
  if (!child.EndsWithin(kCallTimeMs)) return absl::DeadlineExceededError(absl::StrCat("CNI plugin ", type, " takes too long"));
  ASSIGN_OR_RETURN(const os::ProcessExit exit, child.Wait());
  ASSIGN_OR_RETURN(std::string output, Written(out.get()));
  if (exit.code == 0) return output;
  ASSIGN_OR_RETURN(const std::string errors, Written(err.get()));
  return absl::UnavailableError(absl::StrCat("plugin type=\"", type, "\" failed (", command, "): ", FailureText(output, errors)));
}

absl::StatusOr<std::string> CniPlugins::Add(const Attachment& attachment) const {
  std::string result;
  for (const nlohmann::json& plugin : plugins_) {
    absl::StatusOr<std::string> next = Call("ADD", plugin, attachment, result);
    if (!next.ok()) {
      if (absl::Status undone = Delete(attachment, result); !undone.ok()) LogWarning("after a failed CNI setup: ", undone.message());
      return Annotate(next.status(), "CNI setup error");
    }
    result = *std::move(next);
  }
  return result;
}

absl::Status CniPlugins::Delete(const Attachment& attachment, const std::string& result) const {
  absl::Status first;
  const std::string previous = DeletesWithResult(version_) ? result : "";
  for (auto plugin = plugins_.rbegin(); plugin != plugins_.rend(); ++plugin) {
    first.Update(Call("DEL", *plugin, attachment, previous).status());
  }
  return first;
}

}  // namespace cachalot::runtime
