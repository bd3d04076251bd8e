#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "llb/wire.h"

namespace cachalot::llb {
namespace {

absl::Status InvalidMount(const pb::Mount& mount, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("invalid mount ", mount.dest(), " of exec op: ", what));
}

template <typename Opt>
SecretMount DecodeSecret(const Opt& opt) {
  return SecretMount{opt.id(), opt.uid(), opt.gid(), opt.mode(), opt.optional()};
}

template <typename Opt>
void EncodeSecret(const SecretMount& secret, Opt& opt) {
  opt.set_id(secret.id);
  opt.set_uid(secret.uid);
  opt.set_gid(secret.gid);
  opt.set_mode(secret.mode);
  opt.set_optional(secret.optional);
}

void EncodeMount(const Mount& mount, pb::Mount& message) {
  message.set_input(mount.input);
  message.set_selector(mount.selector);
  message.set_dest(mount.dest);
  const bool has_output = mount.type != MountType::kSecret && mount.type != MountType::kSsh;
  message.set_output(has_output ? mount.output : 0);
  message.set_readonly(mount.readonly);
  message.set_mounttype(static_cast<pb::MountType>(mount.type));
  if (mount.type == MountType::kTmpfs) message.mutable_tmpfsopt()->set_size(mount.tmpfs_size);
  if (mount.type == MountType::kCache) {
    message.mutable_cacheopt()->set_id(mount.cache.id);
    message.mutable_cacheopt()->set_sharing(static_cast<pb::CacheSharingOpt>(mount.cache.sharing));
  }
  if (mount.type == MountType::kSecret) EncodeSecret(mount.secret, *message.mutable_secretopt());
  if (mount.type == MountType::kSsh) EncodeSecret(mount.ssh, *message.mutable_sshopt());
  message.set_resultid(mount.result_id);
  message.set_contentcache(static_cast<pb::MountContentCache>(mount.content_cache));
}

void EncodeMeta(const ProcessMeta& meta, pb::Meta& message) {
  message.mutable_args()->Assign(meta.args.begin(), meta.args.end());
  message.mutable_env()->Assign(meta.env.begin(), meta.env.end());
  message.set_cwd(meta.cwd);
  message.set_user(meta.user);
  if (meta.proxy) {
    pb::ProxyEnv& proxy = *message.mutable_proxy_env();
    proxy.set_http_proxy(meta.proxy->http_proxy);
    proxy.set_https_proxy(meta.proxy->https_proxy);
    proxy.set_ftp_proxy(meta.proxy->ftp_proxy);
    proxy.set_no_proxy(meta.proxy->no_proxy);
    proxy.set_all_proxy(meta.proxy->all_proxy);
  }
  for (const HostIp& host : meta.extra_hosts) {
    pb::HostIP& added = *message.add_extrahosts();
    added.set_host(host.host);
    added.set_ip(host.ip);
  }
  message.set_hostname(meta.hostname);
  for (const Ulimit& limit : meta.ulimits) {
    pb::Ulimit& added = *message.add_ulimit();
    added.set_name(limit.name);
    added.set_soft(limit.soft);
    added.set_hard(limit.hard);
  }
  message.set_cgroupparent(meta.cgroup_parent);
  message.set_removemountstubsrecursive(meta.remove_mount_stubs_recursive);
  message.mutable_validexitcodes()->Assign(meta.valid_exit_codes.begin(), meta.valid_exit_codes.end());
}

}  // namespace

absl::Status DecodeMount(const pb::Mount& message, int input_count, int mount_count, Mount& mount) {
  if (message.input() < -1 || message.input() >= input_count) return InvalidMount(message, absl::StrCat("no input ", message.input()));
  if (message.output() < -1 || message.output() >= mount_count) return InvalidMount(message, absl::StrCat("no output ", message.output()));
  if (!pb::MountType_IsValid(message.mounttype())) return InvalidMount(message, absl::StrCat("unknown type ", message.mounttype()));
  if (!pb::CacheSharingOpt_IsValid(message.cacheopt().sharing())) return InvalidMount(message, "unknown cache sharing mode");
  if (!pb::MountContentCache_IsValid(message.contentcache())) return InvalidMount(message, "unknown content cache mode");
  if (message.tmpfsopt().size() < 0) return InvalidMount(message, "negative tmpfs size");
  if (message.mounttype() == pb::CACHE && !message.has_cacheopt()) return InvalidMount(message, "missing cache mount options");
  mount.input = static_cast<int>(message.input());
  mount.selector = message.selector();
  mount.dest = message.dest();
  // Go's library leaves the field 0 for secrets and sockets, which have no output.
  const bool has_output = message.mounttype() != pb::SECRET && message.mounttype() != pb::SSH;
  mount.output = has_output ? static_cast<int>(message.output()) : -1;
  mount.readonly = message.readonly();
  mount.type = static_cast<MountType>(message.mounttype());
  mount.tmpfs_size = message.tmpfsopt().size();
  mount.cache = {message.cacheopt().id(), static_cast<CacheSharing>(message.cacheopt().sharing())};
  mount.secret = DecodeSecret(message.secretopt());
  mount.ssh = DecodeSecret(message.sshopt());
  mount.result_id = message.resultid();
  mount.content_cache = static_cast<ContentCache>(message.contentcache());
  return absl::OkStatus();
}

ProcessMeta DecodeMeta(const pb::Meta& message) {
  ProcessMeta meta;
  meta.args.assign(message.args().begin(), message.args().end());
  meta.env.assign(message.env().begin(), message.env().end());
  meta.cwd = message.cwd();
  meta.user = message.user();
  if (message.has_proxy_env()) {
    const pb::ProxyEnv& proxy = message.proxy_env();
    meta.proxy = ProxyEnv{proxy.http_proxy(), proxy.https_proxy(), proxy.ftp_proxy(), proxy.no_proxy(), proxy.all_proxy()};
  }
  for (const pb::HostIP& host : message.extrahosts()) meta.extra_hosts.push_back({host.host(), host.ip()});
  meta.hostname = message.hostname();
  for (const pb::Ulimit& limit : message.ulimit()) meta.ulimits.push_back({limit.name(), limit.soft(), limit.hard()});
  meta.cgroup_parent = message.cgroupparent();
  meta.remove_mount_stubs_recursive = message.removemountstubsrecursive();
  meta.valid_exit_codes.assign(message.validexitcodes().begin(), message.validexitcodes().end());
  return meta;
}

absl::Status DecodeExec(const pb::ExecOp& message, int input_count, ExecOp& op) {
  if (!message.has_meta()) return absl::InvalidArgumentError("invalid exec op with no meta");
  if (message.meta().args().empty()) return absl::InvalidArgumentError("invalid exec op with no args");
  if (message.mounts().empty()) return absl::InvalidArgumentError("invalid exec op with no mounts");
  if (!pb::NetMode_IsValid(message.network())) return absl::InvalidArgumentError(absl::StrCat("invalid network mode ", message.network()));
  if (!pb::SecurityMode_IsValid(message.security())) {
    return absl::InvalidArgumentError(absl::StrCat("invalid security mode ", message.security()));
  }
  op.meta = DecodeMeta(message.meta());
  bool has_root = false;
  for (const pb::Mount& mount : message.mounts()) {
    RETURN_IF_ERROR(DecodeMount(mount, input_count, message.mounts_size(), op.mounts.emplace_back()));
    has_root = has_root || mount.dest() == "/";
  }
  if (!has_root) return absl::InvalidArgumentError("invalid exec op with no rootfs");
  op.network = static_cast<NetMode>(message.network());
  op.security = static_cast<SecurityMode>(message.security());
  for (const pb::SecretEnv& secret : message.secretenv()) op.secret_env.push_back({secret.id(), secret.name(), secret.optional()});
  for (const pb::CDIDevice& device : message.cdidevices()) op.cdi_devices.push_back({device.name(), device.optional()});
  return absl::OkStatus();
}

void EncodeExec(const ExecOp& op, pb::ExecOp& message) {
  EncodeMeta(op.meta, *message.mutable_meta());
  for (const Mount& mount : op.mounts) EncodeMount(mount, *message.add_mounts());
  message.set_network(static_cast<pb::NetMode>(op.network));
  message.set_security(static_cast<pb::SecurityMode>(op.security));
  for (const SecretEnv& secret : op.secret_env) {
    pb::SecretEnv& added = *message.add_secretenv();
    added.set_id(secret.id);
    added.set_name(secret.name);
    added.set_optional(secret.optional);
  }
  for (const CdiDevice& device : op.cdi_devices) {
    pb::CDIDevice& added = *message.add_cdidevices();
    added.set_name(device.name);
    added.set_optional(device.optional);
  }
}

}  // namespace cachalot::llb
