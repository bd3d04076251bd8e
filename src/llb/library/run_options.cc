#include "cachalot/llb/run.h"
#include "llb/library/shlex.h"

namespace cachalot::llb {

RunOptions& RunOptions::Args(std::vector<std::string> arguments) {
  args = std::move(arguments);
  return *this;
}

RunOptions& RunOptions::Shlex(absl::string_view command) { return Args(SplitCommandLine(command)); }

RunOptions& RunOptions::AddMount(std::string dest, State source, MountOptions options) {
  mounts.push_back({std::move(dest), std::move(source), std::move(options)});
  return *this;
}

RunOptions& RunOptions::AddSecret(SecretOptions secret) {
  secrets.push_back(std::move(secret));
  return *this;
}

RunOptions& RunOptions::AddSsh(SshOptions socket) {
  ssh.push_back(std::move(socket));
  return *this;
}

RunOptions& RunOptions::AddDevice(std::string name, bool optional) {
  cdi_devices.push_back({std::move(name), optional});
  return *this;
}

RunOptions& RunOptions::ReadonlyRoot(bool readonly) {
  readonly_root = readonly;
  return *this;
}

RunOptions& RunOptions::Proxy(ProxyEnv environment) {
  proxy = std::move(environment);
  return *this;
}

RunOptions& RunOptions::Edit(std::function<void(ProcessSettings&)> edit) {
  edits.push_back(std::move(edit));
  return *this;
}

RunOptions& RunOptions::AddEnv(std::string name, std::string value) {
  return Edit([name = std::move(name), value = std::move(value)](ProcessSettings& settings) { settings.SetEnv(name, value); });
}

RunOptions& RunOptions::Dir(std::string path) {
  return Edit([path = std::move(path)](ProcessSettings& settings) { settings.SetDir(path); });
}

RunOptions& RunOptions::User(std::string user) {
  return Edit([user = std::move(user)](ProcessSettings& settings) { settings.user = user; });
}

RunOptions& RunOptions::Hostname(std::string hostname) {
  return Edit([hostname = std::move(hostname)](ProcessSettings& settings) { settings.hostname = hostname; });
}

RunOptions& RunOptions::Network(NetMode network) {
  return Edit([network](ProcessSettings& settings) { settings.network = network; });
}

RunOptions& RunOptions::Security(SecurityMode security) {
  return Edit([security](ProcessSettings& settings) { settings.security = security; });
}

RunOptions& RunOptions::AddExtraHost(std::string host, std::string ip) {
  return Edit([entry = HostIp{std::move(host), std::move(ip)}](ProcessSettings& settings) { settings.extra_hosts.push_back(entry); });
}

RunOptions& RunOptions::AddUlimit(std::string name, std::int64_t soft, std::int64_t hard) {
  return Edit([limit = Ulimit{std::move(name), soft, hard}](ProcessSettings& settings) { settings.ulimits.push_back(limit); });
}

RunOptions& RunOptions::CgroupParent(std::string parent) {
  return Edit([parent = std::move(parent)](ProcessSettings& settings) { settings.cgroup_parent = parent; });
}

RunOptions& RunOptions::ValidExitCodes(std::vector<int> codes) {
  return Edit([codes = std::move(codes)](ProcessSettings& settings) { settings.valid_exit_codes = codes; });
}

RunOptions& RunOptions::With(Constraints wanted) {
  constraints = std::move(wanted);
  return *this;
}

}  // namespace cachalot::llb
