#include "snapshot/checksum_tree.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/parallel.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "codec/sha256.h"
#include "os/file.h"
#include "snapshot/file_attributes.h"
#include "tree/path_walk.h"

namespace cachalot::snapshot {

namespace {

constexpr int kHelpers = 3;
constexpr std::size_t kFilesPerPiece = 64;
constexpr std::size_t kReadSize = 64 * 1024;
// A file changed this short before it is read may change again, or be replaced, without its times showing it: the kernel's clock for files
// ticks every 10 ms at the slowest.
constexpr std::int64_t kRacyNs = 20'000'000;

std::int64_t Nanos(std::int64_t seconds, std::int64_t nanoseconds) { return seconds * 1'000'000'000 + nanoseconds; }
std::int64_t Nanos(const struct statx_timestamp& time) { return Nanos(time.tv_sec, time.tv_nsec); }

char TypeFlag(std::uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR: return '5';
    case S_IFLNK: return '2';
    case S_IFCHR: return '3';
    case S_IFBLK: return '4';
    case S_IFIFO: return '6';
    default: return '0';
  }
}

std::string HeaderText(const ChecksumNode& node, const std::map<std::string, std::string>& xattrs) {
  const std::uint32_t mode = node.IsLink() ? 0777 : node.header.mode & 07777;
  const bool device = S_ISCHR(node.header.mode) || S_ISBLK(node.header.mode);
  const bool has_size = S_ISREG(node.header.mode) || S_ISSOCK(node.header.mode);
  std::string text = absl::StrCat("namemode", mode, "uid", node.header.uid, "gid", node.header.gid, "size", has_size ? node.identity.size : 0,
                                  "typeflag", std::string(1, TypeFlag(node.header.mode)), "linkname", node.link, "unamegnamedevmajor",
                                  device ? major(node.header.device) : 0, "devminor", device ? minor(node.header.device) : 0);
  for (const auto& [key, value] : xattrs) {
    if (key == "security.capability" || (!absl::StartsWith(key, "security.") && !absl::StartsWith(key, "system.")))
      absl::StrAppend(&text, key, value);
  }
  return text;
}

std::string Beneath(const std::string& path, const std::string& name) { return absl::StrCat(path, "/", name); }

}  // namespace

ChecksumNode* ChecksumNode::Child(absl::string_view child_name) const {
  const auto before = [](const auto& child, absl::string_view wanted) { return child->name < wanted; };
  const auto found = std::lower_bound(children.begin(), children.end(), child_name, before);
  return found == children.end() || (*found)->name != child_name ? nullptr : found->get();
}

std::string DigestText(absl::string_view bytes) { return absl::StrCat("sha256:", absl::BytesToHexString(bytes)); }

void ChecksumTree::Begin(std::function<absl::StatusOr<std::string>()> root, Origin origin, WorkerPool* pool) {
  root_path_ = std::move(root);
  origin_ = origin;
  pool_ = pool;
  if (pass_ == 0 || (!immutable_ && origin != Origin::kClientDirectory)) BeginPass();
}

void ChecksumTree::BeginPass() {
  ++pass_;
  root_.tree_digest.clear();
}

void ChecksumTree::NoteChanges(const std::vector<std::string>* directories) {
  if (directories == nullptr) return BeginPass();
  for (const std::string& directory : *directories) Unlist(directory);
}

void ChecksumTree::Unlist(absl::string_view directory) {
  ChecksumNode* node = &root_;
  node->tree_digest.clear();
  for (const absl::string_view name : absl::StrSplit(directory, '/', absl::SkipEmpty())) {
    ChecksumNode* const child = node->Child(name);
    if (child == nullptr) break;  // new: its parent is listed anew
    node = child;
    node->tree_digest.clear();
  }
  node->listed = 0;
}

void ChecksumTree::End() {
  root_fd_.reset();
  root_path_ = nullptr;
}

absl::Status ChecksumTree::OpenRoot() {
  if (root_fd_.valid()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string path, root_path_());
  ASSIGN_OR_RETURN(root_fd_, os::OpenDirectory(path));
  ASSIGN_OR_RETURN(const Seen seen, Look(root_fd_.get(), ""));
  Refresh(&root_, seen);
  return absl::OkStatus();
}

// The file `name`, or the directory itself when it is empty.
absl::StatusOr<ChecksumTree::Seen> ChecksumTree::Look(int directory, const std::string& name) const {
  const bool by_birth = origin_ == Origin::kClientDirectory;
  struct statx status;
  const int flags = AT_SYMLINK_NOFOLLOW | (name.empty() ? AT_EMPTY_PATH : 0);
  const unsigned mask = STATX_BASIC_STATS | (by_birth ? STATX_BTIME : 0);
  if (::statx(directory, name.c_str(), flags, mask, &status) != 0) return ErrnoError(absl::StrCat("stat ", name));
  const bool has_birth = by_birth && (status.stx_mask & STATX_BTIME) != 0 && !S_ISDIR(status.stx_mode);
  return Seen{
      {status.stx_mode, status.stx_uid, status.stx_gid, makedev(status.stx_rdev_major, status.stx_rdev_minor)},
      {status.stx_ino, static_cast<std::int64_t>(status.stx_size), Nanos(status.stx_mtime), Nanos(has_birth ? status.stx_btime : status.stx_ctime)}};
}

// Takes in what was seen; drops what it disproves.
void ChecksumTree::Refresh(ChecksumNode* node, const Seen& seen) {
  const auto& [header, identity] = seen;
  // A directory's ctime changes with its entries, its header does not.
  const bool same = node->header == header && (node->IsDirectory() ? node->identity.changed_ns == identity.changed_ns : node->identity == identity);
  if (immutable_ && node->header.mode != 0) return;
  if (!same) {
    node->digest.clear();
    node->link.clear();
  }
  node->tree_digest.clear();
  node->identity = identity;
  node->header = header;
}

absl::Status ChecksumTree::ListOne(ChecksumNode* node, const std::string& path) {
  if (node->listed == pass_) return absl::OkStatus();
  RETURN_IF_ERROR(OpenRoot());
  ASSIGN_OR_RETURN(const UniqueFd fd, os::OpenBeneath(root_fd_.get(), path.empty() ? "." : path.substr(1), O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(std::vector<os::DirectoryEntry> entries, os::ListDirectory(fd.get()));
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  std::vector<std::unique_ptr<ChecksumNode>> before;
  before.swap(node->children);
  node->children.reserve(entries.size());
  auto old = before.begin();
  for (os::DirectoryEntry& entry : entries) {
    absl::StatusOr<Seen> seen = Look(fd.get(), entry.name);
    if (!seen.ok()) return Annotate(seen.status(), path);
    if (S_ISCHR(seen->header.mode) && seen->header.device == 0) continue;  // a whiteout
    while (old != before.end() && (*old)->name < entry.name) ++old;
    std::unique_ptr<ChecksumNode> child;
    if (old != before.end() && (*old)->name == entry.name && ((*old)->header.mode & S_IFMT) == (seen->header.mode & S_IFMT)) {
      child = std::move(*old++);
    } else {
      child = std::make_unique<ChecksumNode>();
      child->name = std::move(entry.name);
      ++nodes_;
    }
    Refresh(child.get(), *seen);
    if (child->IsLink() && child->link.empty()) {
      ASSIGN_OR_RETURN(child->link, os::ReadLink(fd.get(), child->name));
    }
    node->children.push_back(std::move(child));
  }
  node->listed = pass_;
  return absl::OkStatus();
}

absl::Status ChecksumTree::List(ChecksumNode* node, const std::string& path) {
  if (node == &root_ && root_.header.mode == 0) RETURN_IF_ERROR(OpenRoot());
  if (!node->IsDirectory()) return absl::OkStatus();
  RETURN_IF_ERROR(ListOne(node, path));
  for (const auto& child : node->children) {
    if (child->IsDirectory()) RETURN_IF_ERROR(List(child.get(), Beneath(path, child->name)));
  }
  return absl::OkStatus();
}

absl::StatusOr<ChecksumNode*> ChecksumTree::Resolve(absl::string_view path, bool follow, std::string* resolved) {
  class Steps final : public tree::PathSteps {
   public:
    explicit Steps(ChecksumTree& tree) : tree_(tree) {}
    absl::StatusOr<tree::EntryKind> Look(const std::vector<std::string>& way, const std::string& name, std::string* target) override {
      ChecksumNode* const directory = Node(way);
      const std::string path = tree::PathOf(way, name);
      RETURN_IF_ERROR(tree_.ListOne(directory, path.substr(0, path.rfind('/'))));
      const ChecksumNode* const entry = directory->Child(name);
      if (entry == nullptr) return tree::EntryKind::kNone;
      *target = entry->link;
      return tree::KindOf(entry->header.mode);
    }
    ChecksumNode* Node(const std::vector<std::string>& way) const {
      ChecksumNode* node = &tree_.root_;
      for (const std::string& name : way) node = node->Child(name);
      return node;
    }

   private:
    ChecksumTree& tree_;
  };
  Steps steps(*this);
  ASSIGN_OR_RETURN(const tree::PathEnd end, tree::WalkPath(steps, RootedPath(path), follow));
  if (!end.exists()) return nullptr;
  if (resolved != nullptr) *resolved = end.way.empty() && end.rest.empty() ? "" : end.Path();
  ChecksumNode* const directory = steps.Node(end.way);
  return end.rest.empty() ? directory : directory->Child(end.rest.front());
}

absl::Status ChecksumTree::HashOne(ChecksumNode* node, const std::string& path) const {
  if (node == &root_ && origin_ == Origin::kClientDirectory) {
    node->digest = codec::Sha256().FinishBytes();
    return absl::OkStatus();
  }
  codec::Sha256 hash;
  if (!S_ISREG(node->header.mode) && !node->IsDirectory()) {
    hash.Update(HeaderText(*node, {}));
    node->digest = hash.FinishBytes();
    return absl::OkStatus();
  }
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  const std::string beneath = path.empty() ? "." : path.substr(1);
  absl::StatusOr<UniqueFd> fd = os::OpenBeneath(root_fd_.get(), beneath, O_RDONLY | O_NONBLOCK | O_NOATIME);  // see os/quiet_open.h
  if (absl::IsPermissionDenied(fd.status())) fd = os::OpenBeneath(root_fd_.get(), beneath, O_RDONLY | O_NONBLOCK);
  RETURN_IF_ERROR(fd.status());
  ASSIGN_OR_RETURN(const auto xattrs, ReadXattrs(fd->get()));
  hash.Update(HeaderText(*node, xattrs));
  if (!node->IsDirectory() && node->identity.size > 0) {
    char buffer[kReadSize];
    while (true) {
      const ssize_t n = ::read(fd->get(), buffer, sizeof buffer);
      if (n < 0) return ErrnoError(absl::StrCat("read ", path));
      if (n == 0) break;
      hash.Update(absl::string_view(buffer, n));
      if (n < static_cast<ssize_t>(sizeof buffer) && n == node->identity.size) break;
    }
  }
  node->digest = hash.FinishBytes();
  if (node->identity.changed_ns > Nanos(now.tv_sec, now.tv_nsec) - kRacyNs) node->identity.changed_ns = -1;
  return absl::OkStatus();
}

absl::Status ChecksumTree::Hash(const std::vector<std::pair<ChecksumNode*, std::string>>& nodes) {
  std::vector<std::pair<ChecksumNode*, const std::string*>> missing;
  for (const auto& [node, path] : nodes) {
    if (node->digest.empty()) missing.emplace_back(node, &path);
  }
  if (missing.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(OpenRoot());
  hashed_ += missing.size();
  const std::size_t pieces = (missing.size() + kFilesPerPiece - 1) / kFilesPerPiece;
  return ParallelFor(*pool_, kHelpers, pieces, [&](std::size_t piece) -> absl::Status {
    for (std::size_t i = piece * kFilesPerPiece; i < std::min(missing.size(), (piece + 1) * kFilesPerPiece); ++i) {
      RETURN_IF_ERROR(HashOne(missing[i].first, *missing[i].second));
    }
    return absl::OkStatus();
  });
}

void ChecksumTree::CollectBeneath(ChecksumNode* node, const std::string& path, std::vector<std::pair<ChecksumNode*, std::string>>* nodes) {
  if (node->digest.empty()) nodes->emplace_back(node, path);
  for (const auto& child : node->children) {
    if (child->digest.empty() || child->IsDirectory()) CollectBeneath(child.get(), Beneath(path, child->name), nodes);
  }
}

const std::string& ChecksumTree::Combine(ChecksumNode* node) {
  if (!node->IsDirectory()) return node->digest;
  if (!node->tree_digest.empty()) return node->tree_digest;
  codec::Sha256 hash;
  hash.Update(absl::StrCat(absl::string_view("\0", 1), DigestText(node->digest)));
  for (const auto& child : node->children) hash.Update(absl::StrCat(absl::string_view("\0", 1), child->name, DigestText(Combine(child.get()))));
  node->tree_digest = hash.FinishBytes();
  return node->tree_digest;
}

absl::StatusOr<std::string> ChecksumTree::DigestOf(ChecksumNode* node, const std::string& path) {
  if (!node->tree_digest.empty()) return DigestText(node->tree_digest);
  RETURN_IF_ERROR(List(node, path));
  std::vector<std::pair<ChecksumNode*, std::string>> nodes;
  CollectBeneath(node, path, &nodes);
  RETURN_IF_ERROR(Hash(nodes));
  return DigestText(Combine(node));
}

}  // namespace cachalot::snapshot
