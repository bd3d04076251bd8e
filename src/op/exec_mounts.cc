#include "op/exec_mounts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/path.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/result.h"
#include "op/source_tree.h"
#include "os/file.h"
#include "os/mount.h"

namespace cachalot::op {
namespace {

// Where `selector` leads inside the tree mounted at `directory`.
absl::StatusOr<std::string> PathUnder(const std::string& directory, const std::string& selector) {
  if (RootedPath(selector) == "/") return directory;
  ASSIGN_OR_RETURN(const std::unique_ptr<SourceTree> tree, SourceTree::OpenDirectory(directory));
  ASSIGN_OR_RETURN(const std::string path, tree->Resolve(selector, true));
  if (absl::Status found = tree->Lstat(path).status(); !found.ok()) {
    return absl::Status(found.code(), absl::StrCat("failed to mount ", selector, ": ", found.message()));
  }
  return directory + path;
}

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
  trees_.clear();
  sockets_.clear();
  caches_.clear();
  dropped_.clear();
  if (secrets_dir_.empty()) return;
  if (absl::Status status = os::Unmount(secrets_dir_); !status.ok()) LogWarning("secrets stay mounted: ", status.message());
  ::rmdir(secrets_dir_.c_str());
  secrets_dir_.clear();
}

std::string ExecMounts::DestinationOf(const llb::Mount& mount) const {
  return absl::StartsWith(mount.dest, "/") ? mount.dest : RootedPath(JoinPath(cwd_, mount.dest));
}

absl::Status ExecMounts::Prepare(const llb::ExecOp& op, const std::vector<solver::ResultPtr>& inputs, const CancelToken& cancel) {
  cwd_ = op.meta.cwd;
  for (const llb::Mount& mount : op.mounts) {
    if (mount.dest == "/" && mount.type != llb::MountType::kBind) return absl::InvalidArgumentError("invalid mount type for /");
    if (mount.input >= static_cast<int>(inputs.size())) return absl::InvalidArgumentError(absl::StrCat("missing input ", mount.input));
    const solver::ResultPtr input = mount.input < 0 ? nullptr : inputs[mount.input];
    absl::Status status;
    switch (mount.type) {
      case llb::MountType::kBind: status = AddTree(mount, input); break;
      case llb::MountType::kCache: status = AddCache(mount, input, cancel); break;
      case llb::MountType::kTmpfs: AddTmpfs(mount); break;
      case llb::MountType::kSecret: status = AddSecret(mount, cancel); break;
      case llb::MountType::kSsh: status = AddSsh(mount, cancel); break;
    }
    RETURN_IF_ERROR(status);
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
  ASSIGN_OR_RETURN(const std::string source, PathUnder(directory, mount.selector));
  runtime::MountPoint& point = points_.emplace_back();
  point.dest = DestinationOf(mount);
  point.readonly = mount.readonly;
  point.mount = {"bind", source, {"rbind", mount.readonly ? "ro" : "rw"}};
  return absl::OkStatus();
}

absl::Status ExecMounts::AddTree(const llb::Mount& mount, const solver::ResultPtr& input) {
  snapshot::Snapshots& snapshots = *environment_.parts.snapshots;
  const bool is_root = mount.dest == "/";
  if (mount.readonly && input != nullptr && !is_root) {
    if (mount.output >= 0) outputs_.push_back({mount.output, input, nullptr});
    ASSIGN_OR_RETURN(auto tree, snapshots.MountTree(TreeOf(input), true));
    trees_.push_back(tree);
    return AddBind(mount, tree->path());
  }
  ASSIGN_OR_RETURN(const snapshot::SnapshotPtr active, NewActive(mount, input));
  if (mount.output >= 0) {
    outputs_.push_back({mount.output, nullptr, active});
  } else {
    dropped_.push_back(active);
  }
  ASSIGN_OR_RETURN(auto tree, snapshots.MountTree(active, false));
  trees_.push_back(tree);
  if (!is_root) return AddBind(mount, tree->path());
  rootfs_ = tree->path();
  readonly_rootfs_ = mount.readonly;
  return absl::OkStatus();
}

absl::Status ExecMounts::AddCache(const llb::Mount& mount, const solver::ResultPtr& input, const CancelToken& cancel) {
  snapshot::Snapshots& snapshots = *environment_.parts.snapshots;
  ASSIGN_OR_RETURN(const snapshot::SnapshotPtr parent, CommittedTreeOf(input, snapshots));
  const std::string key = parent == nullptr ? CacheName(mount) : absl::StrCat(CacheName(mount), ":", parent->id());
  NamedTrees::LeasePtr& lease = caches_[key];
  if (lease == nullptr) {
    snapshot::Label label;
    label.description = absl::StrCat("cached mount ", mount.dest, " from ", description_);
    if (mount.cache.id != mount.dest) absl::StrAppend(&label.description, " with id \"", mount.cache.id, "\"");
    label.record_type = "exec.cachemount";
    ASSIGN_OR_RETURN(lease, environment_.parts.named_trees->Acquire(key, mount.cache.sharing, parent, label, cancel));
  }
  if (mount.output >= 0 && input != nullptr) outputs_.push_back({mount.output, input, nullptr});
  ASSIGN_OR_RETURN(auto tree, snapshots.MountTree(lease->snapshot(), false));
  trees_.push_back(tree);
  return AddBind(mount, tree->path());
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
  RETURN_IF_ERROR(data.status());
  if (secrets_dir_.empty()) {
    const std::string directory = absl::StrCat(environment_.parts.work_dir, "/secrets-", RandomId());
    RETURN_IF_ERROR(os::MakeDirectories(directory, 0711));
    secrets_dir_ = directory;
    // Never on a disk.
    RETURN_IF_ERROR(Annotate(os::MountAt({"tmpfs", "tmpfs", {"nodev", "nosuid", "mode=0711"}}, secrets_dir_), "mount of secrets"));
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
    if (!absl::IsUnimplemented(offered)) return offered;
    return absl::UnimplementedError(absl::StrCat("no SSH key \"", mount.ssh.id, "\" forwarded from the client"));
  }
  ASSIGN_OR_RETURN(auto socket, session->ForwardSsh(mount.ssh.id, mount.ssh.uid, mount.ssh.gid, mount.ssh.mode & 0777));
  runtime::MountPoint& point = points_.emplace_back();
  point.dest = DestinationOf(mount);
  point.mount = {"bind", socket->path(), {"rbind"}};
  sockets_.push_back(std::move(socket));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<solver::ResultPtr>> ExecMounts::CommitOutputs() {
  Unmount();
  std::vector<solver::ResultPtr> results;
  for (Output& output : outputs_) {
    if (results.size() <= static_cast<std::size_t>(output.index)) results.resize(output.index + 1);
    solver::ResultPtr& result = results[output.index];
    if (output.active == nullptr) {
      result = output.unchanged;
      continue;
    }
    absl::StatusOr<snapshot::SnapshotPtr> committed = environment_.parts.snapshots->Commit(output.active);
    if (!committed.ok()) return Annotate(committed.status(), absl::StrCat("error committing ", output.active->id()));
    result = std::make_shared<TreeResult>(*std::move(committed));
  }
  return results;
}

}  // namespace cachalot::op
