#include "op/cache_digest.h"

#include <map>
#include <set>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/path.h"
#include "oci/digest.h"
#include "oci/go_json.h"

namespace cachalot::op {
namespace {

using oci::Json;

// Go's "omitempty": zero values are left out.
template <typename T>
void Put(Json& object, const char* name, const T& value) {
  if (value != T{}) object[name] = value;
}
void PutList(Json& object, const char* name, const std::vector<std::string>& list) {
  if (!list.empty()) object[name] = list;
}

std::string DigestOf(const Json& json) { return oci::Digest::Of(oci::DumpGo(json)).str(); }

Json UserJson(const llb::UserRef& user) {
  Json inner = Json::object();
  if (user.name.has_value()) {
    Json& named = inner["byName"] = Json::object();
    Put(named, "name", *user.name);
    Put(named, "input", user.input);
  } else {
    Put(inner, "byId", user.id);
  }
  return Json{{"User", inner}};
}

void PutOwner(Json& object, const llb::Chown& owner) {
  if (!owner.user.has_value() && !owner.group.has_value()) return;
  Json& json = object["owner"] = Json::object();
  if (owner.user.has_value()) json["user"] = UserJson(*owner.user);
  if (owner.group.has_value()) json["group"] = UserJson(*owner.group);
}

Json ActionJson(const llb::FileCopy& copy, bool name_only) {
  Json json = Json::object();
  Put(json, "src", name_only ? BaseName(copy.src) : copy.src);
  Put(json, "dest", copy.dest);
  PutOwner(json, copy.owner);
  Put(json, "mode", copy.mode);
  Put(json, "followSymlink", copy.follow_symlink);
  Put(json, "dirCopyContents", copy.dir_copy_contents);
  Put(json, "attemptUnpackDockerCompatibility", copy.attempt_unpack);
  Put(json, "createDestPath", copy.create_dest_path);
  Put(json, "allowWildcard", copy.allow_wildcard);
  Put(json, "allowEmptyWildcard", copy.allow_empty_wildcard);
  Put(json, "timestamp", copy.timestamp_ns);
  PutList(json, "include_patterns", copy.include_patterns);
  PutList(json, "exclude_patterns", copy.exclude_patterns);
  Put(json, "alwaysReplaceExistingDestPaths", copy.always_replace_existing);
  Put(json, "modeStr", copy.mode_text);
  PutList(json, "required_paths", copy.required_paths);
  return json;
}
Json ActionJson(const llb::FileMkfile& mkfile, bool) {
  Json json = Json::object();
  Put(json, "path", mkfile.path);
  Put(json, "mode", mkfile.mode);
  Put(json, "data", absl::Base64Escape(mkfile.data));
  PutOwner(json, mkfile.owner);
  Put(json, "timestamp", mkfile.timestamp_ns);
  return json;
}
Json ActionJson(const llb::FileMkdir& mkdir, bool) {
  Json json = Json::object();
  Put(json, "path", mkdir.path);
  Put(json, "mode", mkdir.mode);
  Put(json, "makeParents", mkdir.make_parents);
  PutOwner(json, mkdir.owner);
  Put(json, "timestamp", mkdir.timestamp_ns);
  return json;
}
Json ActionJson(const llb::FileRm& rm, bool) {
  Json json = Json::object();
  Put(json, "path", rm.path);
  Put(json, "allowNotFound", rm.allow_not_found);
  Put(json, "allowWildcard", rm.allow_wildcard);
  return json;
}
Json ActionJson(const llb::FileSymlink& symlink, bool) {
  Json json = Json::object();
  Put(json, "oldpath", symlink.oldpath);
  Put(json, "newpath", symlink.newpath);
  PutOwner(json, symlink.owner);
  Put(json, "timestamp", symlink.timestamp_ns);
  return json;
}

// Where a copy's source is known by its content, only its own name counts, not where it lies. But the contents of several sources of one
// input come in the order of their paths, and without those beneath others; and an input that is also changed counts without them.
// So the names say enough only if the sources are names in one directory. (BuildKit takes them always, and serves the wrong file.)
bool NamesAreEnough(const llb::FileOp& op, int input) {
  std::set<std::string> sources, folders;
  for (const llb::FileAction& action : op.actions) {
    if (action.input == input) return false;
    const auto* copy = std::get_if<llb::FileCopy>(&action.action);
    if (copy == nullptr || action.secondary_input != input) continue;
    sources.insert(RootedPath(copy->src));
    folders.insert(DirName(RootedPath(copy->src)));
  }
  return sources.size() == 1 || (folders.size() == 1 && sources.count("/") == 0);
}

// The usual chain: each action changes what the one before left, copies come from the second input, the last is the output.
// Its indexes are left out of the digest.
bool IsPlainChain(const llb::FileOp& op) {
  const int count = static_cast<int>(op.actions.size());
  for (int i = 0; i < count; ++i) {
    const llb::FileAction& action = op.actions[i];
    if (action.input != (i == 0 ? 0 : count + i - 1)) return false;
    if (action.secondary_input != -1 && action.secondary_input != 1) return false;
    if (action.output != (i == count - 1 ? 0 : -1)) return false;
  }
  return count > 0;
}

Json MetaJson(const llb::ProcessMeta& meta) {
  Json json = Json::object();
  PutList(json, "args", meta.args);
  PutList(json, "env", meta.env);
  Put(json, "cwd", meta.cwd);
  Put(json, "user", meta.user);
  for (const llb::HostIp& host : meta.extra_hosts) {
    Json& added = json["extraHosts"].emplace_back(Json::object());
    Put(added, "Host", host.host);
  }
  Put(json, "hostname", meta.hostname);
  for (const llb::Ulimit& limit : meta.ulimits) {
    Json& added = json["ulimit"].emplace_back(Json::object());
    Put(added, "Name", limit.name);
    Put(added, "Soft", limit.soft);
    Put(added, "Hard", limit.hard);
  }
  Put(json, "cgroupParent", meta.cgroup_parent);
  Put(json, "removeMountStubsRecursive", meta.remove_mount_stubs_recursive);
  if (!meta.valid_exit_codes.empty()) json["validExitCodes"] = meta.valid_exit_codes;
  return json;
}

// Whether a cache mount's identity counts: the default identity of a Dockerfile (its path, perhaps behind a namespace) does.
bool KeepsCacheId(const llb::Mount& mount) {
  if (mount.cache.sharing != llb::CacheSharing::kShared) return false;
  const std::size_t slash = mount.cache.id.find('/');
  return mount.cache.id == mount.dest || (slash != std::string::npos && mount.cache.id.substr(slash + 1) == mount.dest);
}

void PutSecret(Json& json, const char* name, const llb::SecretMount& secret) {
  Json& opt = json[name] = Json::object();
  Put(opt, "ID", secret.id);
  Put(opt, "uid", secret.uid);
  Put(opt, "gid", secret.gid);
  Put(opt, "mode", secret.mode);
  Put(opt, "optional", secret.optional);
}

Json MountJson(const llb::Mount& mount, bool with_selector) {
  Json json = Json::object();
  Put(json, "input", mount.input);
  if (with_selector) Put(json, "selector", mount.selector);
  Put(json, "dest", mount.dest);
  Put(json, "output", mount.output);
  Put(json, "readonly", mount.readonly);
  Put(json, "mountType", static_cast<int>(mount.type));
  if (mount.type == llb::MountType::kTmpfs) {
    json["TmpfsOpt"] = Json::object();
    Put(json["TmpfsOpt"], "size", mount.tmpfs_size);
  }
  if (mount.type == llb::MountType::kCache) {
    json["cacheOpt"] = Json::object();
    if (KeepsCacheId(mount)) Put(json["cacheOpt"], "ID", mount.cache.id);
  }
  if (mount.type == llb::MountType::kSecret) PutSecret(json, "secretOpt", mount.secret);
  if (mount.type == llb::MountType::kSsh) PutSecret(json, "SSHOpt", mount.ssh);
  Put(json, "resultID", mount.result_id);
  Put(json, "contentCache", static_cast<int>(mount.content_cache));
  return json;
}

bool IsOnlyRootMount(const std::vector<llb::Mount>& mounts) {
  return mounts.size() == 1 && mounts[0].dest == "/" && !mounts[0].readonly && mounts[0].type == llb::MountType::kBind && mounts[0].result_id.empty();
}

void PutPlatform(Json& json, const oci::Platform& platform) {
  json["OS"] = platform.os;
  json["Arch"] = platform.architecture;
  Put(json, "Variant", platform.variant);
  Put(json, "OSVersion", platform.os_version);
  PutList(json, "OSFeatures", platform.os_features);
}

}  // namespace

std::string FileOpDigest(const llb::FileOp& op, int input_count) {
  Json json = {{"Type", "buildkit.file.v0"}, {"Actions", Json::array()}};
  std::map<int, bool> enough;  // by input
  for (const llb::FileAction& action : op.actions) {
    const int source = action.secondary_input;
    const bool from_input = source != -1 && source < input_count;
    if (from_input && !enough.contains(source)) enough[source] = NamesAreEnough(op, source);
    const bool name_only = from_input && enough[source];
    const Json action_json = std::visit([&](const auto& a) { return ActionJson(a, name_only); }, action.action);
    json["Actions"].push_back(absl::Base64Escape(oci::DumpGo(action_json)));
  }
  if (!IsPlainChain(op)) {
    for (const llb::FileAction& action : op.actions) json["indexes"].push_back(Json{action.input, action.secondary_input, action.output});
  }
  return DigestOf(json);
}

std::string ExecOpDigest(const llb::ExecOp& op, const oci::Platform& platform) {
  Json exec = Json::object();
  exec["meta"] = MetaJson(op.meta);
  if (!IsOnlyRootMount(op.mounts)) {
    // What is mounted is known by its content; of several places in one input that does not say which is which.
    std::map<int, std::set<std::string>> selectors;
    for (const llb::Mount& mount : op.mounts) selectors[mount.input].insert(RootedPath(mount.selector));
    for (const llb::Mount& mount : op.mounts) {
      exec["mounts"].push_back(MountJson(mount, mount.input >= 0 && selectors[mount.input].size() > 1));
    }
  }
  Put(exec, "network", static_cast<int>(op.network));
  Put(exec, "security", static_cast<int>(op.security));
  for (const llb::SecretEnv& secret : op.secret_env) {
    Json& added = exec["secretenv"].emplace_back(Json::object());
    Put(added, "ID", secret.id);
    Put(added, "name", secret.name);
    Put(added, "optional", secret.optional);
  }
  for (const llb::CdiDevice& device : op.cdi_devices) {
    Json& added = exec["cdiDevices"].emplace_back(Json::object());
    Put(added, "name", device.name);
    Put(added, "optional", device.optional);
  }
  Json json = {{"Type", "buildkit.exec.v0"}, {"Exec", exec}};
  PutPlatform(json, platform);
  return DigestOf(json);
}

std::string MergeOpDigest(const llb::MergeOp& op) {
  Json inputs = Json::array();
  for (const int input : op.inputs) {
    Json& added = inputs.emplace_back(Json::object());
    Put(added, "input", input);
  }
  return DigestOf(Json{{"Type", "buildkit.merge.v0"}, {"Merge", Json{{"inputs", inputs}}}});
}

std::string DiffOpDigest(const llb::DiffOp& op) {
  Json lower = Json::object(), upper = Json::object();
  Put(lower, "input", op.lower);
  Put(upper, "input", op.upper);
  return DigestOf(Json{{"Type", "buildkit.diff.v0"}, {"Diff", Json{{"lower", lower}, {"upper", upper}}}});
}

std::string PassthroughOpDigest(const llb::PassthroughOp& op) {
  return DigestOf(Json{{"Type", "buildkit.passthrough.v0"}, {"Passthrough", Json{{"id", op.id}, {"outputs", op.outputs}}}});
}

std::string SourceOpDigest(const std::string& key) { return oci::Digest::Of(absl::StrCat("buildkit.source.v0:", key)).str(); }

std::string ImageDigest(const std::string& manifest, const oci::Platform& platform) {
  Json json = {{"Digest", manifest}};
  PutPlatform(json, platform);
  return DigestOf(json);
}

std::string ChainId(const std::vector<oci::Digest>& diff_ids) {
  std::string chain;
  for (const oci::Digest& diff_id : diff_ids) {
    chain = chain.empty() ? diff_id.str() : oci::Digest::Of(absl::StrCat(chain, " ", diff_id.str())).str();
  }
  return chain;
}

std::string DigestOfList(const std::vector<std::string>& parts) { return oci::Digest::Of(absl::StrJoin(parts, absl::string_view("\0", 1))).str(); }

}  // namespace cachalot::op
