#include "op/exec_mounts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/path.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/result.h"
#include "os/file.h"
#include "os/mount.h"
#include "tree/resolve.h"

namespace cachalot::op {
namespace {

std::string CacheName(const llb::Mount& mount) { return absl::StrCat("cache:", mount.cache.id); }

}  // namespace

absl::Status ForgetCacheMounts(const llb::ExecOp& op, NamedTrees& trees) {
  for (const llb::Mount& mount : op.mounts) {
    if (mount.type == llb::MountType::kCache) RETURN_IF_ERROR(trees.Forget(CacheName(mount)));
  }
  return absl::OkStatus();
}

ExecMounts::~ExecMounts() { Unmount(); }

void ExecMounts::Unmount() {
  points_.clear();
  fixed_.clear();
  mounted_.clear();
  sockets_.clear();
  caches_.clear();
  if (secrets_dir_.empty()) return;
  if (absl::Status status = os::Unmount(secrets_dir_); !status.ok()) LogWarning("secrets stay mounted: ", status.message());
  ::rmdir(secrets_dir_.c_str());
  secrets_dir_.clear();
}

std::string ExecMounts::DestinationOf(const llb::Mount& mount) const {
  return absl::StartsWith(mount.dest, "/") ? mount.dest : RootedPath(JoinPath(cwd_, mount.dest));
}

absl::Status ExecMounts::Add(const llb::Mount& mount, int index, const solver::ResultPtr& input, const CancelToken& cancel) {
  if (mount.dest == "/" && mount.type != llb::MountType::kBind) return absl::InvalidArgumentError("invalid mount type for /");
  switch (mount.type) {
    case llb::MountType::kTmpfs: AddTmpfs(mount); return absl::OkStatus();
    case llb::MountType::kSecret: return AddSecret(mount, cancel);
    case llb::MountType::kSsh: return AddSsh(mount, cancel);
    case llb::MountType::kBind:
    case llb::MountType::kCache: break;
  }
  Tree tree{index, mount.has_output(), nullptr, nullptr, ""};
  RETURN_IF_ERROR(mount.type == llb::MountType::kCache ? AddCache(mount, tree, input) : AddTree(mount, tree, input));
  trees_.push_back(std::move(tree));
  return absl::OkStatus();
}

absl::Status ExecMounts::Prepare(const std::vector<llb::Mount>& mounts, const std::string& cwd, const std::vector<solver::ResultPtr>& inputs,
                                 const CancelToken& cancel) {
  cwd_ = cwd;
  count_ = mounts.size();
  for (const llb::Mount& mount : mounts) {
    if (mount.input >= static_cast<int>(inputs.size())) return absl::InvalidArgumentError(absl::StrCat("missing input ", mount.input));
  }
  RETURN_IF_ERROR(AcquireCaches(mounts, inputs, cancel));
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    const llb::Mount& mount = mounts[i];
    RETURN_IF_ERROR(Add(mount, static_cast<int>(i), mount.input < 0 ? nullptr : inputs[mount.input], cancel));
  }
  if (rootfs_.empty()) return absl::InvalidArgumentError("exec without a root file system");
  // Parents before what lies in them.
  std::stable_sort(points_.begin(), points_.end(), [](const auto& a, const auto& b) { return a.dest < b.dest; });
  return absl::OkStatus();
}

absl::StatusOr<snapshot::SnapshotPtr> ExecMounts::NewActive(const llb::Mount& mount, const solver::ResultPtr& parent) {
  snapshot::Snapshots& snapshots = *environment_.parts.snapshots;
  ASSIGN_OR_RETURN(const snapshot::SnapshotPtr tree, CommittedTreeOf(parent, snapshots));
  snapshot::Label label;
  label.description = absl::StrCat("mount ", mount.dest, " from exec ", description_);
  return snapshots.Prepare(tree, label);
}

absl::Status ExecMounts::AddBind(const llb::Mount& mount, const std::string& directory) {
  std::string source = directory;
  const std::string selector = RootedPath(mount.selector);  // as the step's cache key has it
  if (selector != "/") {
    ASSIGN_OR_RETURN(const UniqueFd root, os::OpenDirectory(directory));
    absl::StatusOr<tree::Resolved> selected = tree::Resolve(root.get(), selector);
    if (selected.ok() && !selected->exists()) selected = ErrnoError(absl::StrCat("lstat ", selected->Path()), ENOENT);
    if (!selected.ok()) return Annotate(selected.status(), absl::StrCat("failed to mount ", mount.selector));
    ASSIGN_OR_RETURN(fixed_.emplace_back(), FixedPath::Fix(selected->entry.get(), environment_.parts.work_dir));
    source = fixed_.back()->path();
  }
  runtime::MountPoint& point = points_.emplace_back();
  point.dest = DestinationOf(mount);
  point.readonly = mount.readonly;
  point.mount = {"bind", source, {"rbind", mount.readonly ? "ro" : "rw"}};
  return absl::OkStatus();
}

absl::Status ExecMounts::AddTree(const llb::Mount& mount, Tree& tree, const solver::ResultPtr& input) {
  snapshot::Snapshots& snapshots = *environment_.parts.snapshots;
  const bool is_root = mount.dest == "/";
  const bool readonly = mount.readonly && input != nullptr && !is_root;
  if (readonly) {
    tree.unchanged = input;
  } else {
    ASSIGN_OR_RETURN(tree.active, NewActive(mount, input));
  }
  ASSIGN_OR_RETURN(auto mounted, snapshots.MountTree(readonly ? TreeOf(input) : tree.active, readonly));
  tree.directory = mounted->path();
  mounted_.push_back(std::move(mounted));
  if (!is_root) return AddBind(mount, tree.directory);
  rootfs_ = tree.directory;
  readonly_rootfs_ = mount.readonly;
  return absl::OkStatus();
}

absl::StatusOr<std::string> ExecMounts::CacheKeyOf(const llb::Mount& mount, const solver::ResultPtr& input) {
  ASSIGN_OR_RETURN(const snapshot::SnapshotPtr parent, CommittedTreeOf(input, *environment_.parts.snapshots));
  return parent == nullptr ? CacheName(mount) : absl::StrCat(CacheName(mount), ":", parent->id());
}

// In the order of their keys, so that two steps never wait for each other.
absl::Status ExecMounts::AcquireCaches(const std::vector<llb::Mount>& mounts, const std::vector<solver::ResultPtr>& inputs,
                                       const CancelToken& cancel) {
  std::map<std::string, const llb::Mount*> wanted;
  for (const llb::Mount& mount : mounts) {
    if (mount.type != llb::MountType::kCache) continue;
    ASSIGN_OR_RETURN(std::string key, CacheKeyOf(mount, mount.input < 0 ? nullptr : inputs[mount.input]));
    wanted.try_emplace(std::move(key), &mount);
  }
  for (const auto& [key, mount] : wanted) {
    ASSIGN_OR_RETURN(const snapshot::SnapshotPtr parent,
                     CommittedTreeOf(mount->input < 0 ? nullptr : inputs[mount->input], *environment_.parts.snapshots));
    snapshot::Label label;
    label.description = absl::StrCat("cached mount ", mount->dest, " from ", description_);
    if (mount->cache.id != mount->dest) absl::StrAppend(&label.description, " with id \"", mount->cache.id, "\"");
    label.record_type = "exec.cachemount";
    ASSIGN_OR_RETURN(caches_[key], environment_.parts.named_trees->Acquire(key, mount->cache.sharing, parent, label, cancel));
  }
  return absl::OkStatus();
}

absl::Status ExecMounts::AddCache(const llb::Mount& mount, Tree& tree, const solver::ResultPtr& input) {
  ASSIGN_OR_RETURN(const std::string key, CacheKeyOf(mount, input));
  tree.unchanged = input;
  ASSIGN_OR_RETURN(auto mounted, caches_.at(key)->Mount());
  tree.directory = mounted->path();
  mounted_.push_back(std::move(mounted));
  return AddBind(mount, tree.directory);
}

void ExecMounts::AddTmpfs(const llb::Mount& mount) {
  runtime::MountPoint& point = points_.emplace_back();
  point.dest = DestinationOf(mount);
  point.readonly = mount.readonly;
  point.mount = {"tmpfs", "tmpfs", {"nosuid"}};
  if (mount.readonly) point.mount.options.push_back("ro");
  if (mount.tmpfs_size > 0) point.mount.options.push_back(absl::StrCat("size=", mount.tmpfs_size));
}

absl::Status ExecMounts::AddSecret(const llb::Mount& mount, const CancelToken& cancel) {
  const llb::SecretMount& secret = mount.secret;
  if (secret.id.empty()) return absl::InvalidArgumentError("secret ID missing from mount options");
  ASSIGN_OR_RETURN(const session::SessionPtr session, SessionFor(environment_, "", cancel));
  const absl::StatusOr<std::string> data = session->Secret(secret.id, cancel);
  if (!data.ok() && secret.optional && absl::IsNotFound(data.status())) return absl::OkStatus();
  RETURN_IF_ERROR(OfTheClient(data.status()));
  if (secrets_dir_.empty()) {
    const std::string directory = absl::StrCat(environment_.parts.work_dir, "/secrets-", RandomId());
    RETURN_IF_ERROR(os::MakeDirectories(directory, 0700));
    secrets_dir_ = directory;
    RETURN_IF_ERROR(Annotate(os::MountMemory(secrets_dir_), "mount of secrets"));
  }
  const std::string path = absl::StrCat(secrets_dir_, "/", ++secret_count_);
  ASSIGN_OR_RETURN(const UniqueFd fd, os::Open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  RETURN_IF_ERROR(os::WriteAll(fd.get(), *data, "secret"));
  if (::fchown(fd.get(), secret.uid, secret.gid) != 0) return ErrnoError("chown of a secret");
  if (::fchmod(fd.get(), secret.mode & 0777) != 0) return ErrnoError("chmod of a secret");
  runtime::MountPoint& point = points_.emplace_back();
  point.dest = DestinationOf(mount);
  point.readonly = true;
  point.mount = {"bind", path, {"ro", "rbind", "nodev", "nosuid"}};
  if ((secret.mode & 0111) == 0) point.mount.options.push_back("noexec");
  return absl::OkStatus();
}

absl::Status ExecMounts::AddSsh(const llb::Mount& mount, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const session::SessionPtr session, SessionFor(environment_, "", cancel));
  const absl::Status offered = session->CheckSshAgent(mount.ssh.id, cancel);
  if (!offered.ok()) {
    if (mount.ssh.optional) return absl::OkStatus();
    if (!absl::IsUnimplemented(offered)) return OfTheClient(offered);
    return OfTheClient(absl::UnimplementedError(absl::StrCat("no SSH key \"", mount.ssh.id, "\" forwarded from the client")));
  }
  ASSIGN_OR_RETURN(auto socket, session->ForwardSsh(mount.ssh.id, mount.ssh.uid, mount.ssh.gid, mount.ssh.mode & 0777));
  runtime::MountPoint& point = points_.emplace_back();
  point.dest = DestinationOf(mount);
  point.mount = {"bind", socket->path(), {"rbind"}};
  sockets_.push_back(std::move(socket));
  return absl::OkStatus();
}

absl::StatusOr<solver::ResultPtr> ExecMounts::Commit(const Tree& tree) {
  if (tree.active == nullptr) return tree.unchanged;
  absl::StatusOr<snapshot::SnapshotPtr> committed = environment_.parts.snapshots->Commit(tree.active);
  if (!committed.ok()) return Annotate(committed.status(), absl::StrCat("error committing ", tree.active->id()));
  return std::make_shared<TreeResult>(*std::move(committed));
}

absl::StatusOr<std::vector<solver::ResultPtr>> ExecMounts::CommitOutputs() {
  Unmount();
  std::map<int, solver::ResultPtr> by_mount;
  for (const Tree& tree : trees_) {
    if (!tree.is_output) continue;
    ASSIGN_OR_RETURN(by_mount[tree.mount], Commit(tree));
  }
  std::vector<solver::ResultPtr> results;
  for (auto& [mount, result] : by_mount) results.push_back(std::move(result));
  return results;
}

std::vector<solver::ResultPtr> ExecMounts::CommitFailed() {
  Unmount();
  std::vector<solver::ResultPtr> results(count_);
  for (const Tree& tree : trees_) {
    results.at(tree.mount) =
        tree.active == nullptr ? tree.unchanged : std::make_shared<TreeResult>(environment_.parts.snapshots->CommitUnrecorded(tree.active));
  }
  return results;
}

std::string ExecMounts::DirectoryOf(int mount) const {
  const auto tree = std::find_if(trees_.begin(), trees_.end(), [&](const Tree& t) { return t.mount == mount; });
  return tree == trees_.end() ? "" : tree->directory;
}

}  // namespace cachalot::op
