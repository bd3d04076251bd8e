// What mounts of steps are made from, over hostile trees and trees that change meanwhile.
#include "op/exec_mounts.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "op/result.h"
#include "os/file.h"
#include "snapshot/snapshots_testing.h"
#include "tree/resolve.h"

namespace cachalot::op {
namespace {

using Inode = std::pair<dev_t, ino_t>;

// MOUNTS_SEED replays.
class ExecMountsTest : public snapshot::SnapshotsTest {
 protected:
  void SetUp() override {
    snapshot::SnapshotsTest::SetUp();
    if (IsSkipped()) return;
    named_trees_ = std::make_unique<NamedTrees>(snapshots_.get());
    environment_.parts.snapshots = snapshots_.get();
    environment_.parts.blobs = blobs_.get();
    environment_.parts.named_trees = named_trees_.get();
    environment_.parts.work_dir = work_.path();
    ASSERT_TRUE(os::MakeDirectories(outside_ + "/a").ok());
    ASSERT_TRUE(os::WriteFileAtomic(outside_ + "/b", "of the host").ok());
    std::uint64_t seed = std::random_device()();
    if (const char* text = std::getenv("MOUNTS_SEED"); text != nullptr) {
      ASSERT_TRUE(absl::SimpleAtoi(text, &seed));
    }
    std::printf("MOUNTS_SEED=%llu\n", static_cast<unsigned long long>(seed));
    random_.seed(seed);
  }
  void TearDown() override {
    named_trees_.reset();
    snapshot::SnapshotsTest::TearDown();
  }
  static llb::Mount Root() {
    llb::Mount root;
    root.dest = "/";
    return root;
  }
  static llb::Mount Cache(const std::string& selector) {
    llb::Mount mount;
    mount.type = llb::MountType::kCache;
    mount.cache.id = "shared";
    mount.dest = "/t";
    mount.selector = selector;
    return mount;
  }
  static Inode InodeOf(const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(::stat(path.c_str(), &st), 0) << path;
    return {st.st_dev, st.st_ino};
  }
  static std::set<Inode> InodesBelow(const std::string& directory) {
    std::set<Inode> found = {InodeOf(directory)};
    const std::vector<os::DirectoryEntry> entries = *os::ListDirectory(directory);
    for (const os::DirectoryEntry& entry : entries) {
      const std::string path = absl::StrCat(directory, "/", entry.name);
      if (entry.type == DT_DIR) {
        found.merge(InodesBelow(path));
      } else {
        const struct stat st = *os::Lstat(path);
        found.insert({st.st_dev, st.st_ino});
      }
    }
    return found;
  }
  template <typename T>
  const T& Pick(const std::vector<T>& values) {
    return values[random_() % values.size()];
  }
  std::string AnyPath(const std::vector<std::string>& names) {
    std::string path = Pick(names);
    while (random_() % 3 != 0) absl::StrAppend(&path, "/", Pick(names));
    return path;
  }
  // Entries of few names at random places, with links that lead up, out and in circles.
  void FillAtRandom(const std::string& root) {
    const std::vector<std::string> names = {"a", "b", "c", "l"};
    std::vector<std::string> directories = {root};
    for (int i = 0; i < 12; ++i) {
      const std::string path = absl::StrCat(Pick(directories), "/", Pick(names));
      const std::vector<std::string> targets = {
          "..",           "/",    "../..", "../../../../../../..", outside_,          absl::StrCat("../../../../../../../../../..", outside_),
          "nope/../../a", "/a/b", "l",     outside_ + "/b",        "/proc/self/root", "a/../../.."};
      switch (random_() % 3) {
        case 0:
          if (::mkdir(path.c_str(), 0755) == 0) directories.push_back(path);
          break;
        case 1: (void)!::symlink(Pick(targets).c_str(), path.c_str()); break;
        default: (void)os::Open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
      }
    }
  }

  os::Scratch work_;
  const std::string outside_ = work_ / "outside";
  std::unique_ptr<NamedTrees> named_trees_;
  Environment environment_;
  std::mt19937_64 random_;
};

TEST_F(ExecMountsTest, SelectorsStayInHostileTrees) {
  const std::vector<std::string> names = {"a", "b", "c", "l", "..", ".", "", "nope", outside_};
  int mounted = 0, refused = 0;
  for (int round = 0; round < 25; ++round) {
    const snapshot::SnapshotPtr tree = Make(nullptr, [this](const std::string& root) { FillAtRandom(root); });
    const std::vector<solver::ResultPtr> inputs = {std::make_shared<TreeResult>(tree)};
    for (int i = 0; i < 20; ++i) {
      llb::Mount mount = random_() % 2 == 0 ? Cache("") : llb::Mount();
      mount.dest = "/t";
      mount.input = 0;
      mount.readonly = random_() % 2 == 0;
      mount.selector = AnyPath(names);
      ExecMounts mounts(environment_, "test");
      const absl::Status status = mounts.Prepare({Root(), mount}, "/", inputs, {});
      if (mounts.DirectoryOf(1).empty()) {
        // Not found: the model says the same of the tree itself.
        const std::shared_ptr<snapshot::MountedTree> seen = *snapshots_->MountTree(tree, true);
        const UniqueFd root = *os::OpenDirectory(seen->path());
        const absl::StatusOr<tree::Resolved> end = tree::Resolve(root.get(), RootedPath(mount.selector));
        EXPECT_FALSE(status.ok());
        EXPECT_FALSE(end.ok() && end->exists()) << mount.selector;
        ++refused;
        continue;
      }
      ASSERT_TRUE(status.ok()) << status;
      const std::string directory = mounts.DirectoryOf(1);
      const UniqueFd root = *os::OpenDirectory(directory);
      const absl::StatusOr<tree::Resolved> end = tree::Resolve(root.get(), RootedPath(mount.selector));
      ASSERT_TRUE(end.ok() && end->exists()) << mount.selector;
      const Inode source = InodeOf(mounts.points().back().mount.source);
      const struct stat wanted = *os::Stat(end->entry.get());
      EXPECT_EQ(source, Inode(wanted.st_dev, wanted.st_ino)) << mount.selector;
      EXPECT_TRUE(InodesBelow(directory).count(source) > 0) << mount.selector;
      ++mounted;
    }
  }
  std::printf("%d mounts, %d refused\n", mounted, refused);
  EXPECT_GT(mounted, 50);
  EXPECT_GT(refused, 20);
}

// The engine's own part of GHSA-m3r6-h7wv-7xxv, without containers: many more rounds. RACE_SECONDS is the long form.
// Each has what the other waits for, unless both take them in one order.
TEST_F(ExecMountsTest, LockedCachesInAnyOrderDoNotBlockEachOther) {
  const auto locked = [](const char* id) {
    llb::Mount mount = Cache("");
    mount.cache.id = id;
    mount.cache.sharing = llb::CacheSharing::kLocked;
    mount.dest = absl::StrCat("/", id);
    return mount;
  };
  const auto steps = [&](const std::vector<llb::Mount>& mounts) {
    for (int i = 0; i < 200; ++i) {
      ExecMounts exec(environment_, "step");
      const absl::Status status = exec.Prepare(mounts, "/", {}, {});
      EXPECT_TRUE(status.ok()) << status;
    }
  };
  std::thread other([&] { steps({Root(), locked("x"), locked("y")}); });
  steps({Root(), locked("y"), locked("x")});
  other.join();
}

TEST_F(ExecMountsTest, SelectorsOfAChangingCacheStayInIt) {
  int seconds = 3;
  if (const char* text = std::getenv("RACE_SECONDS"); text != nullptr) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &seconds));
  }
  ExecMounts whole(environment_, "test");
  ASSERT_TRUE(whole.Prepare({Root(), Cache("")}, "/", {}, {}).ok());
  const std::string cache = whole.DirectoryOf(1);
  for (const char* name : {"/a", "/a/a", "/p", "/p/a"}) ASSERT_TRUE(os::MakeDirectories(cache + name).ok());
  for (const char* name : {"/b", "/a/b", "/p/a/b"}) snapshot::WriteFile(cache + name, "inside");
  const std::set<Inode> inside = InodesBelow(cache);
  std::atomic<bool> stop = false;
  std::thread flip([&] {
    const std::string away = cache + "/away";
    for (std::mt19937_64 random(random_()); !stop;) {
      const std::pair<std::string, std::string> turns[] = {
          {"/a", outside_}, {"/b", outside_ + "/b"}, {"/p", outside_}, {"/p/a", "../../../../../../../../.." + outside_}};
      const auto& [name, target] = turns[random() % 4];
      const std::string path = cache + name;
      if (::rename(path.c_str(), away.c_str()) != 0) continue;
      (void)!::symlink(target.c_str(), path.c_str());
      ::unlink(path.c_str());
      ::rename(away.c_str(), path.c_str());
    }
  });
  const std::vector<std::string> names = {"a", "b", "p", "..", "away"};
  int mounted = 0, hits = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (std::chrono::steady_clock::now() < end) {
    ExecMounts mounts(environment_, "test");
    if (!mounts.Prepare({Root(), Cache(AnyPath(names))}, "/", {}, {}).ok()) continue;
    ++mounted;
    if (inside.count(InodeOf(mounts.points().back().mount.source)) == 0) ++hits;
  }
  stop = true;
  flip.join();
  std::printf("%d mounts, %d of the host\n", mounted, hits);
  EXPECT_EQ(hits, 0);
  EXPECT_GT(mounted, 10);
}

}  // namespace
}  // namespace cachalot::op
