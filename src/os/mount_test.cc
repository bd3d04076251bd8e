#include "os/mount.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "os/cgroup.h"
#include "os/file.h"
#include "os/overlay_mount.h"
#include "os/scratch_testing.h"

namespace cachalot::os {
namespace {

class OverlayTest : public ::testing::TestWithParam<OverlayMethod> {
 protected:
  void SetUp() override {
    if (!CanMount()) GTEST_SKIP() << "needs root";
    for (const char* name : {"point", "up", "work"}) ASSERT_TRUE(MakeDirectories(scratch_ / name).ok());
  }
  void TearDown() override { (void)Unmount(scratch_ / "point"); }

  Scratch scratch_;
};

TEST_P(OverlayTest, MountsFiveHundredLayersOfLongNames) {
  std::vector<std::string> layers;
  for (int i = 0; i < 500; ++i) {
    std::string layer = scratch_ / absl::StrCat("snapshots/", std::string(80, 'n'), "/", i, "/fs");
    ASSERT_TRUE(MakeDirectories(layer).ok());
    ASSERT_TRUE(WriteFileAtomic(absl::StrCat(layer, "/layer", i), "").ok());
    layers.push_back(layer);
  }
  MountOptions options{.data = {absl::StrCat("lowerdir=", absl::StrJoin(layers, ":")), absl::StrCat("upperdir=", scratch_ / "up"),
                                absl::StrCat("workdir=", scratch_ / "work"), "index=off"}};
  absl::Status status = MountOverlay("overlay", options, scratch_ / "point", GetParam());
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(ListDirectory(scratch_ / "point")->size(), 500u);
  EXPECT_TRUE(WriteFileAtomic(scratch_ / "point/new", "x").ok());
  EXPECT_TRUE(Lstat(scratch_ / "up/new").ok());
  EXPECT_TRUE(IsMountPoint(scratch_ / "point").value());
}

TEST_P(OverlayTest, TakesPathsWithSeparators) {
  std::string odd = scratch_ / "a:b,c";
  ASSERT_TRUE(MakeDirectories(absl::StrCat(odd, "/inside")).ok());
  std::string escaped = scratch_ / "a\\:b\\,c";
  MountOptions options{.data = {absl::StrCat("lowerdir=", escaped, ":", scratch_ / "up")}};
  absl::Status status = MountOverlay("overlay", options, scratch_ / "point", GetParam());
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(Lstat(scratch_ / "point/inside").ok());
  EXPECT_FALSE(WriteFileAtomic(scratch_ / "point/new", "x").ok());
}

TEST_P(OverlayTest, NamesTheMissingLayer) {
  MountOptions options{.data = {absl::StrCat("lowerdir=", scratch_ / "nowhere", ":", scratch_ / "up")}};
  absl::Status status = MountOverlay("overlay", options, scratch_ / "point", GetParam());
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("nowhere"), absl::string_view::npos) << status;
  EXPECT_FALSE(IsMountPoint(scratch_ / "point").value());
}

INSTANTIATE_TEST_SUITE_P(Methods, OverlayTest, ::testing::Values(OverlayMethod::kBest, OverlayMethod::kMountData),
                         [](const auto& info) { return info.param == OverlayMethod::kBest ? "NewApi" : "MountData"; });

TEST(MountTest, BindsReadOnly) {
  if (!CanMount()) GTEST_SKIP() << "needs root";
  Scratch scratch;
  ASSERT_TRUE(MakeDirectories(scratch / "source").ok());
  ASSERT_TRUE(MakeDirectories(scratch / "point").ok());
  ASSERT_TRUE(MountAt({"bind", scratch / "source", {"rbind", "ro", "nosuid"}}, scratch / "point").ok());
  EXPECT_FALSE(WriteFileAtomic(scratch / "point/x", "").ok());
  EXPECT_TRUE(Unmount(scratch / "point").ok());
  EXPECT_TRUE(Unmount(scratch / "point").ok());
  ASSERT_TRUE(MountAt({"tmpfs", "tmpfs", {"size=64k", "mode=0700", "nodev", "private"}}, scratch / "point").ok());
  EXPECT_EQ(Lstat(scratch / "point")->st_mode & 0777, 0700u);
  EXPECT_TRUE(Unmount(scratch / "point").ok());
}

TEST(PrivateMountNamespaceTest, MountsDieWithTheProcess) {
  if (!CanMount()) GTEST_SKIP() << "needs root";
  Scratch scratch;
  ASSERT_TRUE(MakeDirectories(scratch / "point").ok());
  pid_t child = ::fork();
  if (child == 0) {
    bool ok = EnterPrivateMountNamespace().ok() && !CgroupLayout::Detect().unified_beside_v1() &&
              MountAt({"tmpfs", "tmpfs", {}}, scratch / "point").ok() && IsMountPoint(scratch / "point").value_or(false);
    ::_exit(ok ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(IsMountPoint(scratch / "point").value());
}

}  // namespace
}  // namespace cachalot::os
