#include "tree/resolve.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "os/scratch_testing.h"

namespace cachalot::tree {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ResolveTest : public testing::Test {
 protected:
  ResolveTest() {
    EXPECT_TRUE(os::MakeDirectories(scratch_ / "root/a/b").ok());
    EXPECT_TRUE(os::WriteFileAtomic(scratch_ / "root/a/file", "text").ok());
    EXPECT_TRUE(os::MakeDirectories(scratch_ / "outside").ok());
    root_ = *os::OpenDirectory(scratch_ / "root");
  }
  void Link(const std::string& name, const std::string& target) { ASSERT_EQ(::symlinkat(target.c_str(), root_.get(), name.c_str()), 0); }
  std::string PathOf(absl::string_view path, bool follow_last = true) {
    const absl::StatusOr<Resolved> end = Resolve(root_.get(), path, follow_last);
    return end.ok() ? end->Path() : std::string(end.status().message());
  }
  ino_t InodeOf(const std::string& path) { return os::Lstat(scratch_ / ("root" + path))->st_ino; }

  os::Scratch scratch_;
  UniqueFd root_;
};

// "..\0x" is a name like others for a string, and the way up for the kernel.
TEST_F(ResolveTest, NullBytesEndNoPath) {
  const std::string up("..\0x", 4);
  for (const std::string& path : {up, up + "/outside", "a/" + up + "/" + up + "/outside", "new/" + up + "/" + up, std::string("a\0b", 3)}) {
    EXPECT_EQ(Resolve(root_.get(), path).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(MakeDirectories(root_.get(), path, {}).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_FALSE(TryOpenDirectory(root_.get(), path).ok());
    EXPECT_FALSE(os::OpenBeneath(root_.get(), path, O_RDONLY).ok());
    EXPECT_FALSE(os::OpenInRoot(root_.get(), path, O_RDONLY).ok());
  }
}

TEST_F(ResolveTest, DescriptorsStandForWhatWasFound) {
  Link("to-b", "/a/b");
  const auto directory = Resolve(root_.get(), "to-b");
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_THAT(directory->way, ElementsAre("a", "b"));
  EXPECT_THAT(directory->rest, IsEmpty());
  EXPECT_TRUE(directory->exists());
  EXPECT_TRUE(directory->linked);
  EXPECT_EQ(os::Stat(directory->directory.get())->st_ino, InodeOf("/a/b"));
  EXPECT_EQ(os::Stat(directory->entry.get())->st_ino, InodeOf("/a/b"));

  const auto file = Resolve(root_.get(), "/a/b/../file");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->way, ElementsAre("a"));
  EXPECT_THAT(file->rest, ElementsAre("file"));
  EXPECT_TRUE(file->exists());
  EXPECT_FALSE(file->linked);
  EXPECT_EQ(os::Stat(file->entry.get())->st_ino, InodeOf("/a/file"));
  EXPECT_EQ(os::Stat(file->directory.get())->st_ino, InodeOf("/a"));

  const auto missing = Resolve(root_.get(), "a/b/x/y");
  ASSERT_TRUE(missing.ok()) << missing.status();
  EXPECT_THAT(missing->rest, ElementsAre("x", "y"));
  EXPECT_FALSE(missing->exists());
  EXPECT_FALSE(missing->entry.valid());
  EXPECT_EQ(os::Stat(missing->directory.get())->st_ino, InodeOf("/a/b"));
  EXPECT_FALSE(Resolve(root_.get(), "/a/file/below")->exists());
}

TEST_F(ResolveTest, PathsAreAsLongAsTheKernelsAtMost) {
  std::string path;
  while (path.size() + 2 <= kMaxPath) path += "/x";
  EXPECT_TRUE(Resolve(root_.get(), path).ok());
  const absl::Status refused = Resolve(root_.get(), path + "/xx").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.message(), testing::HasSubstr("x...: file name too long"));
  // A tree that was made name by name, and links that together lead deeper than any path.
  const std::string name(100, 'd');
  UniqueFd at = *os::OpenBeneath(root_.get(), ".", O_RDONLY | O_DIRECTORY);
  for (int depth = 0; depth < 60; ++depth) {
    ASSERT_EQ(::symlinkat((name + "/" + name).c_str(), at.get(), "two"), 0);
    ASSERT_EQ(::mkdirat(at.get(), name.c_str(), 0755), 0);
    at = *os::OpenBeneath(at.get(), name, O_RDONLY | O_DIRECTORY);
  }
  EXPECT_EQ(Resolve(root_.get(), "two/two/two").value().way.size(), 6u);
  path.clear();
  for (int i = 0; i < 25; ++i) path += "/two";
  EXPECT_EQ(Resolve(root_.get(), path).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ResolveTest, TheLastLinkStaysWhenItIsNotFollowed) {
  Link("last", "a/file");
  EXPECT_EQ(PathOf("/last"), "/a/file");
  const auto link = Resolve(root_.get(), "/last", false);
  ASSERT_TRUE(link.ok());
  EXPECT_EQ(link->kind, EntryKind::kLink);
  EXPECT_EQ(os::ReadLink(link->entry.get(), "").value(), "a/file");
}

TEST_F(ResolveTest, NothingLeadsOut) {
  Link("absolute", scratch_ / "outside");
  Link("up", "../../../../outside");
  EXPECT_EQ(PathOf("/absolute"), scratch_ / "outside") << "as a path inside the tree";
  EXPECT_EQ(PathOf("/up/x"), "/outside/x");
  EXPECT_EQ(PathOf("../../.."), "/");
}

TEST_F(ResolveTest, LinksCountAfterAWayThroughWhatDoesNotExist) {
  Link("root-link", "/");
  Link("climbs", "nope/../root-link/outside");
  Link("climbs-far", "x/y/../../../../root-link/a");
  EXPECT_EQ(PathOf("/climbs/f"), "/outside/f");
  EXPECT_EQ(PathOf("/climbs-far"), "/a");
  EXPECT_EQ(PathOf("nope/../root-link/a/file/../b"), "/a/b");
}

TEST_F(ResolveTest, LoopsEnd) {
  Link("loop", "loop");
  EXPECT_EQ(Resolve(root_.get(), "loop/x").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(MakeDirectories(root_.get(), "loop/x").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ResolveTest, MakesMissingDirectoriesInside) {
  Link("link", "/target/deep");
  std::vector<std::string> created;
  ASSERT_TRUE(MakeDirectories(root_.get(), "/n/b/../c", {.mode = 0777}, &created).ok());
  EXPECT_THAT(created, ElementsAre("/n", "/n/c"));
  EXPECT_EQ(os::Lstat(scratch_ / "root/n/c")->st_mode & 07777, 0777u);
  const auto made = MakeDirectories(root_.get(), "link/x");
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(os::Stat(made->get())->st_ino, InodeOf("/target/deep/x"));
  EXPECT_EQ(MakeDirectories(root_.get(), "a/file/x").status().message(), "mkdir /a/file: not a directory");
  EXPECT_TRUE(MakeDirectories(root_.get(), "/").ok());
  EXPECT_FALSE(os::Lstat("/target").ok());
}

}  // namespace
}  // namespace cachalot::tree
