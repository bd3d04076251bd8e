#include "os/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>

#include "os/mount.h"
#include "os/scratch_testing.h"

namespace cachalot::os {
namespace {

TEST(ReadFileTest, IsBounded) {
  Scratch scratch;
  ASSERT_TRUE(WriteFileAtomic(scratch / "f", std::string(10, 'x')).ok());
  EXPECT_EQ(ReadFile(scratch / "f", 10).value(), "xxxxxxxxxx");
  EXPECT_EQ(ReadFile(scratch / "f", 9).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadFile(scratch / "none", 9).status().code(), absl::StatusCode::kNotFound);
  EXPECT_GT(ReadFile("/proc/self/status", 1 << 20).value().size(), 100u);
}

TEST(WriteFileAtomicTest, ReplacesAndLeavesNothingBehind) {
  Scratch scratch;
  ASSERT_TRUE(WriteFileAtomic(scratch / "f", "one").ok());
  ASSERT_TRUE(WriteFileAtomic(scratch / "f", "two", 0600, Durability::kSynced).ok());
  EXPECT_EQ(ReadFile(scratch / "f", 100).value(), "two");
  EXPECT_EQ(Lstat(scratch / "f")->st_mode & 07777, 0600u);
  EXPECT_FALSE(WriteFileAtomic(scratch / "no/f", "x").ok());
  EXPECT_EQ(ListDirectory(scratch.path())->size(), 1u);
}

TEST(OpenInRootTest, KeepsLinksInside) {
  Scratch scratch;
  ASSERT_TRUE(MakeDirectories(scratch / "root/etc").ok());
  ASSERT_TRUE(WriteFileAtomic(scratch / "root/etc/passwd", "inside").ok());
  ASSERT_EQ(::symlink("/etc/passwd", (scratch / "root/abs").c_str()), 0);
  ASSERT_EQ(::symlink("../../../../etc/passwd", (scratch / "root/up").c_str()), 0);
  UniqueFd root = OpenDirectory(scratch / "root").value();
  for (const char* path : {"abs", "/abs", "up", "../../etc/passwd"}) {
    UniqueFd fd = OpenInRoot(root.get(), path, O_RDONLY).value();
    EXPECT_EQ(ReadAll(fd.get(), 100, path).value(), "inside") << path;
  }
  ASSERT_EQ(::symlink("etc", (scratch / "root/in").c_str()), 0);
  EXPECT_FALSE(OpenBeneath(root.get(), "abs", O_RDONLY).ok());
  EXPECT_FALSE(OpenBeneath(root.get(), "in/passwd", O_RDONLY).ok());
  EXPECT_TRUE(OpenBeneath(root.get(), "in", O_PATH | O_NOFOLLOW).ok());
  EXPECT_FALSE(OpenBeneath(root.get(), "up", O_RDONLY).ok());
  EXPECT_TRUE(OpenBeneath(root.get(), "etc/passwd", O_RDONLY).ok());
}

TEST(RemoveTreeTest, RemovesAnyDepthAndReadOnlyDirectories) {
  Scratch scratch;
  UniqueFd at = OpenDirectory(scratch.path()).value();
  constexpr int kDepth = 1500;
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), i == 0 ? "deep" : "d", 0700), 0);
    at = OpenBeneath(at.get(), i == 0 ? "deep" : "d", O_RDONLY | O_DIRECTORY).value();
    ASSERT_TRUE(OpenBeneath(at.get(), "file", O_WRONLY | O_CREAT, 0600).ok());
  }
  ASSERT_TRUE(MakeDirectories(scratch / "deep/locked/inner").ok());
  ASSERT_EQ(::chmod((scratch / "deep/locked").c_str(), 0), 0);
  EXPECT_TRUE(RemoveTree(scratch / "deep/").ok());
  EXPECT_TRUE(ListDirectory(scratch.path())->empty());
  EXPECT_TRUE(RemoveTree(scratch / "deep").ok());
}

TEST(RemoveTreeTest, DoesNotFollowLinks) {
  Scratch scratch;
  ASSERT_TRUE(MakeDirectories(scratch / "kept/inner").ok());
  ASSERT_TRUE(MakeDirectories(scratch / "tree").ok());
  ASSERT_EQ(::symlink((scratch / "kept").c_str(), (scratch / "tree/link").c_str()), 0);
  ASSERT_EQ(::symlink((scratch / "kept").c_str(), (scratch / "top").c_str()), 0);
  EXPECT_TRUE(RemoveTree(scratch / "tree").ok());
  EXPECT_TRUE(RemoveTree(scratch / "top").ok());
  EXPECT_TRUE(Lstat(scratch / "kept/inner").ok());
  EXPECT_FALSE(Lstat(scratch / "top").ok());
}

TEST(RemoveTreeTest, StopsAtMounts) {
  if (!CanMount()) GTEST_SKIP() << "needs root";
  Scratch scratch;
  ASSERT_TRUE(MakeDirectories(scratch / "kept/inner").ok());
  ASSERT_TRUE(MakeDirectories(scratch / "tree/point").ok());
  ASSERT_TRUE(MakeDirectories(scratch / "tree/other").ok());
  ASSERT_TRUE(MountAt({"bind", scratch / "kept", {"rbind"}}, scratch / "tree/point").ok());
  EXPECT_EQ(RemoveTree(scratch / "tree").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Lstat(scratch / "kept/inner").ok());
  EXPECT_FALSE(Lstat(scratch / "tree/other").ok());
  ASSERT_TRUE(Unmount(scratch / "tree/point").ok());
  EXPECT_TRUE(RemoveTree(scratch / "tree").ok());
}

}  // namespace
}  // namespace cachalot::os
