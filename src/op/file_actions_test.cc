// File operations as a whole, over real snapshots.
#include "op/file_actions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/worker_pool.h"
#include "codec/tar.h"
#include "op/errors.h"
#include "op/result.h"
#include "os/file.h"
#include "os/scratch_testing.h"
#include "store/local_blobs.h"
#include "store/schema.h"

namespace cachalot::op {
namespace {

using llb::FileAction;

class FileActionsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!os::CanMount()) GTEST_SKIP() << "needs root for overlay mounts";
    database_ = *store::OpenMetadata(scratch_.path());
    blobs_ = *store::LocalBlobs::Open(scratch_.path(), database_.get());
    auto snapshots = snapshot::OpenSnapshots({scratch_.path(), blobs_.get(), database_.get(), &cpu_});
    ASSERT_TRUE(snapshots.ok()) << snapshots.status();
    snapshots_ = *std::move(snapshots);
  }

  absl::StatusOr<std::vector<solver::ResultPtr>> RunAll(std::vector<FileAction> actions, const std::vector<solver::ResultPtr>& inputs = {}) {
    const llb::FileOp op{std::move(actions)};
    return FileActions(*snapshots_, op, inputs, "test", {}).Run();
  }
  // A chain on `base` (null: scratch), whose last action is the output; copies come from `from`.
  absl::StatusOr<solver::ResultPtr> Chain(const solver::ResultPtr& base, std::vector<decltype(FileAction::action)> steps,
                                          const solver::ResultPtr& from = nullptr) {
    std::vector<solver::ResultPtr> inputs;
    if (base != nullptr) inputs.push_back(base);
    if (from != nullptr) inputs.push_back(from);
    const int count = static_cast<int>(inputs.size());
    std::vector<FileAction> actions;
    for (auto& step : steps) {
      FileAction action;
      action.input = actions.empty() ? (base == nullptr ? -1 : 0) : count + static_cast<int>(actions.size()) - 1;
      if (std::holds_alternative<llb::FileCopy>(step)) action.secondary_input = from == nullptr ? -1 : count - 1;
      action.action = std::move(step);
      actions.push_back(std::move(action));
    }
    actions.back().output = 0;
    auto results = RunAll(std::move(actions), inputs);
    if (!results.ok()) return results.status();
    return (*results)[0];
  }
  // Unpacks an archive "/x.tar" of this entry alone.
  absl::Status UnpackOne(const codec::TarEntry& entry) {
    codec::StringSink sink;
    codec::TarWriter tar(&sink);
    EXPECT_TRUE(tar.Add(entry).ok());
    EXPECT_TRUE(tar.Finish().ok());
    llb::FileCopy unpack = Copy("/x.tar", "/t/");
    unpack.attempt_unpack = true;
    return Chain(nullptr, {unpack}, *Chain(nullptr, {File("/x.tar", sink.bytes())})).status();
  }
  std::string Get(const solver::ResultPtr& result, const std::string& path) {
    auto tree = snapshots_->MountTree(TreeOf(result), true);
    auto data = os::ReadFile((*tree)->path() + path, 1 << 20);
    return data.ok() ? *data : "(none)";
  }
  struct stat St(const solver::ResultPtr& result, const std::string& path) {
    auto tree = snapshots_->MountTree(TreeOf(result), true);
    struct stat st = {};
    EXPECT_EQ(::lstat(((*tree)->path() + path).c_str(), &st), 0) << path;
    return st;
  }
  static llb::FileMkfile File(const std::string& path, const std::string& data = "data", int mode = 0644) {
    llb::FileMkfile mkfile;
    mkfile.path = path;
    mkfile.data = data;
    mkfile.mode = mode;
    return mkfile;
  }
  static llb::FileMkdir Dir(const std::string& path, bool parents = true) {
    llb::FileMkdir mkdir;
    mkdir.path = path;
    mkdir.mode = 0755;
    mkdir.make_parents = parents;
    return mkdir;
  }
  static llb::FileCopy Copy(const std::string& src, const std::string& dest) {
    llb::FileCopy copy;
    copy.src = src;
    copy.dest = dest;
    copy.create_dest_path = true;
    copy.dir_copy_contents = true;
    copy.allow_wildcard = true;
    copy.follow_symlink = true;
    return copy;
  }
  static llb::FileRm Rm(const std::string& path, bool missing_is_fine = false, bool wildcard = false) {
    llb::FileRm rm;
    rm.path = path;
    rm.allow_not_found = missing_is_fine;
    rm.allow_wildcard = wildcard;
    return rm;
  }

  os::Scratch scratch_;
  WorkerPool cpu_{"cpu", 2};
  std::unique_ptr<store::Database> database_;
  std::unique_ptr<store::LocalBlobs> blobs_;
  std::unique_ptr<snapshot::Snapshots> snapshots_;
};

TEST_F(FileActionsTest, AChainOverAParentIsSeenByOverlayfs) {
  const auto base = Chain(nullptr, {Dir("/a/b"), File("/a/b/old"), File("/a/keep", "kept")});
  ASSERT_TRUE(base.ok()) << base.status();
  const auto result = Chain(*base, {File("/a/b/new", "new"), Rm("/a/b/old"), Dir("/c"), File("/c/x")});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Get(*result, "/a/b/new"), "new");
  EXPECT_EQ(Get(*result, "/a/b/old"), "(none)");
  EXPECT_EQ(Get(*result, "/a/keep"), "kept");
  EXPECT_EQ(Get(*base, "/a/b/old"), "data");
}

TEST_F(FileActionsTest, ARemovedDirectoryThatComesBackIsEmpty) {
  const auto base = Chain(nullptr, {Dir("/d/sub"), File("/d/sub/f"), File("/d/g")});
  const auto result = Chain(*base, {Rm("/d"), Dir("/d"), File("/d/only")});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Get(*result, "/d/g"), "(none)");
  EXPECT_EQ(Get(*result, "/d/sub/f"), "(none)");
  EXPECT_EQ(Get(*result, "/d/only"), "data");
}

TEST_F(FileActionsTest, CopiesAreFilesOfTheirOwn) {
  const auto lower = Chain(nullptr, {File("/one", "1")});
  const auto source = Chain(*lower, {File("/two", "2")});
  const auto result = Chain(nullptr, {Copy("/", "/copy/"), Copy("/one", "/again")}, *source);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Get(*result, "/copy/one") + Get(*result, "/copy/two") + Get(*result, "/again"), "121");
  EXPECT_NE(St(*result, "/copy/one").st_ino, St(*lower, "/one").st_ino);
  for (const char* path : {"/copy/one", "/copy/two", "/again"}) EXPECT_EQ(St(*result, path).st_nlink, 1u) << path;
}

TEST_F(FileActionsTest, ExcludedSourcesOfAWildcardStayOut) {
  const auto source = Chain(
      nullptr, {File("/home.txt"), File("/homer.c"), Dir("/homes"), File("/homes/a.txt"), File("/homes/b"), Dir("/homeless"), File("/homeless/c")});
  llb::FileCopy copy = Copy("/hom*", "/mydir/");
  copy.exclude_patterns = {"*.txt", "homeless"};
  const auto result = Chain(nullptr, {copy}, *source);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Get(*result, "/mydir/home.txt") + Get(*result, "/mydir/a.txt") + Get(*result, "/mydir/c"), "(none)(none)(none)");
  EXPECT_EQ(Get(*result, "/mydir/homer.c") + Get(*result, "/mydir/b"), "datadata");
}

TEST_F(FileActionsTest, OfExcludedDirectoriesTheDestinationStays) {
  const auto source = Chain(nullptr, {Dir("/dir1"), File("/dir1/a"), Dir("/dir2"), Dir("/dir2/d"), File("/dir2/d/b")});
  llb::FileCopy copy = Copy("/dir*", "/to");
  copy.dir_copy_contents = true;
  copy.exclude_patterns = {"*"};
  const auto result = Chain(nullptr, {copy}, *source);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(S_ISDIR(St(*result, "/to").st_mode));
  EXPECT_EQ(Get(*result, "/to/a") + Get(*result, "/to/d/b"), "(none)(none)");
  EXPECT_EQ(St(*result, "/to").st_nlink, 2u) << "no directory in it";
}

TEST_F(FileActionsTest, OwnersByName) {
  const auto users = Chain(nullptr, {Dir("/etc"), File("/etc/passwd", "root:x:0:0::/:\nbob:x:7:8::/:\n"), File("/etc/group", "staff:x:50:\n")});
  llb::FileMkfile file = File("/f");
  file.owner.user = llb::UserRef{"bob", 0, 0};
  llb::FileMkfile grouped = File("/g");
  grouped.owner.user = llb::UserRef{std::nullopt, -1, 5};
  grouped.owner.group = llb::UserRef{"staff", 0, 0};
  llb::FileMkfile unknown = File("/u");
  unknown.owner.user = llb::UserRef{"nobody-here", 0, 0};
  const auto result = Chain(*users, {file, grouped, unknown});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(St(*result, "/f").st_uid, 7u);
  EXPECT_EQ(St(*result, "/f").st_gid, 8u);
  EXPECT_EQ(St(*result, "/g").st_uid, 5u);
  EXPECT_EQ(St(*result, "/g").st_gid, 50u);
  EXPECT_EQ(St(*result, "/u").st_uid, 0u);
}

// Removal of "..": what lay beside the tree went, too.
TEST_F(FileActionsTest, Ghsa32pv_7hq5_qhwq) {
  const std::string outside = scratch_ / "outside";
  ASSERT_TRUE(os::MakeDirectories(outside + "/kept").ok());
  llb::FileSymlink link;
  link.oldpath = outside;
  link.newpath = "/link";
  const auto base = Chain(nullptr, {Dir("/a/b"), File("/a/f"), link});
  ASSERT_TRUE(base.ok()) << base.status();
  const std::string below = outside.substr(1);
  const std::vector<std::string> paths = {"..",
                                          "/..",
                                          "../..",
                                          "a/../..",
                                          "a/..",
                                          ".",
                                          "/",
                                          "../../../../../../" + below,
                                          "a/../../../../../../" + below,
                                          "link/kept",
                                          "link/../kept",
                                          "/link/../../.." + outside,
                                          "a/b/../../../x",
                                          "*/..",
                                          "../*",
                                          "link/*",
                                          "*/../../*",
                                          "l*/k*"};
  for (const std::string& path : paths) {
    for (const bool wildcard : {false, true}) (void)Chain(*base, {Rm(path, true, wildcard)});
    ASSERT_TRUE(os::Lstat(outside + "/kept").ok()) << path;
    ASSERT_TRUE(os::Lstat(scratch_ / "snapshots").ok()) << path;
  }
  EXPECT_EQ(Get(*base, "/a/f"), "data");
}

TEST_F(FileActionsTest, WildcardsMatchPerComponent) {
  const auto source = Chain(nullptr, {Dir("/d/x"), Dir("/d/y"), File("/d/x/a.c", "xa"), File("/d/y/b.c", "yb"), File("/d/x/a.h")});
  const auto result = Chain(nullptr, {Copy("/d/*/*.c", "/t/")}, *source);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Get(*result, "/t/a.c") + Get(*result, "/t/b.c"), "xayb");
  EXPECT_EQ(Get(*result, "/t/a.h"), "(none)");
  EXPECT_EQ(Chain(nullptr, {Copy("/d/*.nothing", "/t/")}, *source).status().message(), "/d/*.nothing not found");
  llb::FileCopy may_be_empty = Copy("/d/*.nothing", "/t/");
  may_be_empty.allow_empty_wildcard = true;
  EXPECT_TRUE(Chain(nullptr, {Dir("/t"), may_be_empty}, *source).ok());
  EXPECT_EQ(Get(*Chain(*source, {Rm("/d/x/*.c", true, true)}), "/d/x/a.c"), "(none)");
}

TEST_F(FileActionsTest, ErrorsNameThePathAndTheAction) {
  const absl::Status rm = Chain(nullptr, {Dir("/a"), Rm("/missing")}).status();
  EXPECT_EQ(rm.message(), "stat /missing: no such file or directory");
  EXPECT_EQ(GetNumber(rm, kFileActionPayload), 1);
  EXPECT_EQ(Chain(nullptr, {Dir("/a/b", false)}).status().message(), "mkdir /a/b: no such file or directory");
  EXPECT_EQ(Chain(nullptr, {File("/a/b")}).status().message(), "open /a/b: no such file or directory");
  EXPECT_EQ(Chain(nullptr, {Dir("/a"), File("/a")}).status().message(), "open /a: is a directory");
  EXPECT_TRUE(Chain(nullptr, {Dir("/a"), Rm("/missing", true)}).ok());
}

TEST_F(FileActionsTest, AnExistingFileKeepsModeAndOwner) {
  llb::FileMkfile first = File("/f", "long content", 0600);
  first.owner.user = llb::UserRef{std::nullopt, -1, 9};
  const auto base = Chain(nullptr, {first});
  const auto result = Chain(*base, {File("/f", "short", 0777)});
  EXPECT_EQ(Get(*result, "/f"), "short");
  EXPECT_EQ(St(*result, "/f").st_mode & 07777, 0600u);
  EXPECT_EQ(St(*result, "/f").st_uid, 9u);
}

TEST_F(FileActionsTest, TimestampsAreSet) {
  llb::FileMkfile file = File("/f");
  file.timestamp_ns = 1'500'000'000'123'456'789;
  llb::FileSymlink link{"f", "/l", {}, 7'000'000'000};
  const auto result = Chain(nullptr, {file, link});
  EXPECT_EQ(St(*result, "/f").st_mtim.tv_sec, 1'500'000'000);
  EXPECT_EQ(St(*result, "/f").st_mtim.tv_nsec, 123'456'789);
  EXPECT_EQ(St(*result, "/l").st_mtim.tv_sec, 7);
}

TEST_F(FileActionsTest, SeveralOutputsAndReaders) {
  // 0: /a; 1: /a + /b (an output); 2: copies from 1 into a tree of its own (another output).
  std::vector<FileAction> actions(3);
  actions[0] = {-1, -1, -1, File("/a", "A")};
  actions[1] = {0, -1, 0, File("/b", "B")};
  actions[2] = {-1, 1, 1, Copy("/", "/from/")};
  const auto results = RunAll(actions);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(Get((*results)[0], "/b"), "B");
  EXPECT_EQ(Get((*results)[1], "/from/a"), "A");
}

TEST_F(FileActionsTest, ArchivesAreUnpacked) {
  codec::StringSink sink;
  codec::TarWriter tar(&sink);
  auto add = [&](const std::string& path, codec::TarType type, const std::string& text) {
    codec::TarEntry entry;
    entry.path = path;
    entry.type = type;
    entry.mode = type == codec::TarType::kDirectory ? 0750 : 0640;
    entry.uid = 3;
    entry.mtime = {1000, 0};
    if (type == codec::TarType::kFile) entry.size = static_cast<std::int64_t>(text.size());
    if (type == codec::TarType::kSymlink || type == codec::TarType::kHardLink) entry.link = text;
    ASSERT_TRUE(tar.Add(entry).ok());
    if (type == codec::TarType::kFile) {
      ASSERT_TRUE(tar.Write(text).ok());
    }
  };
  add("./", codec::TarType::kDirectory, "");
  add("dir/", codec::TarType::kDirectory, "");
  add("was/", codec::TarType::kDirectory, "");
  add("was", codec::TarType::kFile, "a directory");
  add("implied/f", codec::TarType::kFile, "");
  add("older", codec::TarType::kHardLink, "old");
  add("dir/f", codec::TarType::kFile, "content");
  add("dir/hard", codec::TarType::kHardLink, "dir/f");
  add("out", codec::TarType::kSymlink, "/../../../etc");
  add("out/caught", codec::TarType::kFile, "inside");
  add("../../escape", codec::TarType::kFile, "inside too");
  ASSERT_TRUE(tar.Finish().ok());
  const auto source = Chain(nullptr, {File("/x.tar", sink.bytes()), File("/plain.txt", "no archive")});
  llb::FileCopy unpack = Copy("/x.tar", "/t/"), plain = Copy("/plain.txt", "/t/");
  unpack.attempt_unpack = plain.attempt_unpack = true;
  unpack.owner.user = llb::UserRef{std::nullopt, -1, 3};
  const auto base = Chain(nullptr, {Dir("/t"), File("/t/old", "from below", 0600)});
  const auto result = Chain(*base, {unpack, plain}, *source);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(St(*result, "/t").st_mode & 07777, 0755u) << "the destination keeps what it has";
  EXPECT_EQ(St(*result, "/t/was").st_mtim.tv_sec, 1000);
  EXPECT_EQ(St(*result, "/t/implied").st_uid, 0u);
  EXPECT_EQ(St(*result, "/t/implied/f").st_uid, 3u);
  EXPECT_EQ(Get(*result, "/t/older"), "from below");
  EXPECT_EQ(St(*result, "/t/older").st_ino, St(*result, "/t/old").st_ino);
  EXPECT_EQ(St(*result, "/t/old").st_mode & 07777, 0640u) << "as the link's entry says";
  EXPECT_EQ(Get(*result, "/t/dir/f"), "content");
  EXPECT_EQ(St(*result, "/t/dir/f").st_ino, St(*result, "/t/dir/hard").st_ino);
  EXPECT_EQ(St(*result, "/t/dir").st_mode & 07777, 0750u);
  EXPECT_EQ(St(*result, "/t/dir").st_mtim.tv_sec, 1000);
  EXPECT_EQ(St(*result, "/t/dir/f").st_uid, 3u);
  EXPECT_EQ(Get(*result, "/t/etc/caught"), "inside");
  EXPECT_EQ(Get(*result, "/t/escape"), "inside too");
  EXPECT_EQ(Get(*result, "/t/plain.txt"), "no archive");
}

TEST_F(FileActionsTest, AnArchiveDeletesNothingByWhatOverlayfsTakesForDeletions) {
  codec::TarEntry entry;
  entry.path = "bin";
  entry.type = codec::TarType::kCharDevice;
  EXPECT_THAT(UnpackOne(entry).message(), ::testing::HasSubstr("failed to unpack /x.tar: bin: mknod: operation not permitted"));
}

TEST_F(FileActionsTest, AnArchiveWithAnImpossibleOwnerIsNotTakenForAFile) {
  codec::TarEntry entry;
  entry.path = "f";
  entry.pax["uid"] = "5000000000";
  EXPECT_THAT(UnpackOne(entry).message(), ::testing::HasSubstr("failed to unpack /x.tar: tar: uid 5000000000 out of range"));
}

TEST_F(FileActionsTest, ALocalSourceBecomesCommittedOnDemand) {
  const auto active = snapshots_->Prepare(nullptr, {"context", "source.local"});
  ASSERT_TRUE(active.ok());
  {
    auto tree = *snapshots_->MountTree(*active, false);
    ASSERT_TRUE(os::WriteFileAtomic(tree->path() + "/f", "local").ok());
  }
  const auto local = std::make_shared<TreeResult>(*active, std::make_shared<int>(0));
  EXPECT_EQ(Get(*Chain(nullptr, {Copy("/f", "/copied")}, local), "/copied"), "local");
  const auto changed = Chain(local, {File("/g", "more")});
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ(Get(*changed, "/f") + Get(*changed, "/g"), "localmore");
  EXPECT_EQ(Get(local, "/g"), "(none)");
}

}  // namespace
}  // namespace cachalot::op
